"""YOLO segmentation: `images/train/`, `labels/train/` and `data.yaml`.

https://docs.ultralytics.com/datasets/segment/. `data.yaml` states no path, so that its own folder is used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from ..outlines.yolo import label_text
from .pixels import png
from .sample import Sample
from .writer import LayoutWriter


@dataclass
class YoloWriter(LayoutWriter):
    """Writes images, text files and `data.yaml`; classes are numbered from 0 without gaps."""

    _splits: set[str] = field(init=False, default_factory=set)

    def add(self, sample: Sample) -> None:
        """Write one image and its text file, which is empty if it has no objects."""
        objects = sample.with_class_numbers(self.numbers).objects
        self.folder.write(f"images/{sample.split}/{sample.name}.png", png(sample.image))
        self.folder.write(f"labels/{sample.split}/{sample.name}.txt", label_text(objects))
        self._splits.add(sample.split)

    def finish(self) -> list[str]:
        """Write `data.yaml`."""
        lines = [f"{split}: images/{split}\n" for split in ("train", "val", "test") if split in self._splits]
        names = [
            f"  {index}: {json.dumps(info.name, ensure_ascii=False)}\n"
            for index, info in enumerate(self.numbered)
        ]
        self.folder.write("data.yaml", "".join([*lines, "names:\n", *names]).encode("utf-8", "surrogatepass"))
        remarks = ["YOLO's class 0 is the first class: its numbers are those below minus 1, without gaps."]
        if "val" not in self._splits:
            remarks.append(
                "There are no validation images, which Ultralytics requires; export with new splits."
            )
        return remarks
