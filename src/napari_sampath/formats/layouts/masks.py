"""Images and masks: `train/images/`, `train/labels/`, `train/instances/`, and the same for `val` and `test`.

`labels/` has indexed PNG files whose values are the class numbers in `classes.json`, `instances/` has PNG files of 16
bits with object numbers. A value of 255 in `labels/` is ignored.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from .pixels import UNKNOWN, class_png, instance_png, json_bytes, png
from .sample import Sample
from .writer import LayoutWriter


@dataclass
class MasksWriter(LayoutWriter):
    """Writes images and masks."""

    def add(self, sample: Sample) -> None:
        """Write one image with its maps."""
        class_map = sample.class_map
        if self.ignores:
            class_map = np.where(sample.unknown, UNKNOWN, class_map).astype(np.uint8)
        place = sample.split
        self.folder.write(f"{place}/images/{sample.name}.png", png(sample.image))
        self.folder.write(f"{place}/labels/{sample.name}.png", class_png(class_map, self.classes))
        self.folder.write(
            f"{place}/instances/{sample.name}.png", instance_png(sample.numbered_map, sample.name)
        )

    def finish(self) -> list[str]:
        """Write the class list."""
        self.folder.write("classes.json", json_bytes([asdict(info) for info in self.classes]))
        remarks = [
            "labels/ has the class number of each pixel, instances/ the number of the object; 0 is background."
        ]
        if self.ignores:
            remarks.append(
                f"{UNKNOWN} in labels/ marks pixels that nobody verified; leave them out of the loss."
            )
        return remarks
