"""A raw dataset of nnU-Net v2: `Dataset001_NAME/` with `imagesTr`, `labelsTr`, `imagesTs`, `labelsTs`.

https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md. An RGB image is one PNG with the channel
number 0000. Labels are consecutive; numbers that no class has are declared as "unused N", and the ignore label is the
highest one (documentation/ignore_label.md). Training and validation images are both in `imagesTr`; `splits_final.json`
states which are which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from ..maps.nnunet import label_values
from .pixels import json_bytes, png
from .sample import Sample
from .writer import LayoutWriter


@dataclass
class NnunetWriter(LayoutWriter):
    """Writes images, class maps, `dataset.json` and `splits_final.json`."""

    _cases: dict[str, list[str]] = field(init=False, default_factory=lambda: {"train": [], "val": []})

    @property
    def root(self) -> str:
        """Folder with the name of the dataset."""
        return f"Dataset001_{re.sub('[^A-Za-z0-9]+', '', self.name) or 'sampath'}"

    @property
    def _names(self) -> dict[int, str]:
        return {info.id: info.name for info in self.classes}

    @property
    def _ignore(self) -> int:
        """The ignore label."""
        return max(self._names, default=0) + 1

    def add(self, sample: Sample) -> None:
        """Write one image and its class map."""
        class_map = sample.class_map
        if self.ignores:
            class_map = np.where(sample.unknown, self._ignore, class_map).astype(np.uint8)
        end = "Ts" if sample.split == "test" else "Tr"
        self.folder.write(f"{self.root}/images{end}/{sample.name}_0000.png", png(sample.image))
        self.folder.write(f"{self.root}/labels{end}/{sample.name}.png", png(class_map))
        if sample.split in self._cases:
            self._cases[sample.split].append(sample.name)

    def finish(self) -> list[str]:
        """Write `dataset.json`, and `splits_final.json` if there are validation images."""
        labels = label_values(self._names)
        if self.ignores:
            labels["ignore"] = self._ignore
        content = {
            "channel_names": {"0": "R", "1": "G", "2": "B"},
            "labels": labels,
            "numTraining": sum(map(len, self._cases.values())),
            "file_ending": ".png",
            "overwrite_image_reader_writer": "NaturalImage2DIO",
        }
        self.folder.write(f"{self.root}/dataset.json", json_bytes(content))
        remarks = [f"Set nnUNet_raw to this folder; the dataset is {self.root}."]
        if self._cases["val"]:
            self.folder.write(f"{self.root}/splits_final.json", json_bytes([self._cases]))
            remarks.append(
                f"After nnUNetv2_plan_and_preprocess, copy {self.root}/splits_final.json to nnUNet_preprocessed/"
                f"{self.root}/ and train fold 0, so that no slide is in both splits."
            )
        return remarks
