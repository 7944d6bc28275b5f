"""COCO: `annotations/instances_train.json` and the images in `train/`, and the same for `val` and `test`.

https://cocodataset.org/#format-data. Categories have the class numbers of the project.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from ..outlines.coco_writing import annotation_of
from .pixels import json_bytes, png
from .sample import Sample
from .writer import LayoutWriter


@dataclass
class CocoWriter(LayoutWriter):
    """Writes one annotation file for each split.

    Args:
        folder: See `LayoutWriter`, as for `classes`, `name` and `ignores`; COCO cannot mark ignored pixels.
        polygons: Write polygons; an object with holes is cut into parts without holes. Otherwise run lengths.
    """

    polygons: bool
    _images: dict[str, list[dict[str, Any]]] = field(init=False, default_factory=lambda: defaultdict(list))
    _annotations: dict[str, list[dict[str, Any]]] = field(
        init=False, default_factory=lambda: defaultdict(list)
    )

    def add(self, sample: Sample) -> None:
        """Write one image, and keep its annotations for the file of its split."""
        file_name = f"{sample.name}.png"
        self.folder.write(f"{sample.split}/{file_name}", png(sample.image))
        images, annotations = self._images[sample.split], self._annotations[sample.split]
        height, width = sample.class_map.shape
        entry = {"id": len(images) + 1, "file_name": file_name, "height": height, "width": width}
        images.append(entry | {"slide": sample.slide, "mpp": sample.mpp})
        for obj in sample.objects.items:
            annotation = annotation_of(obj, sample.objects.hw, self.polygons)
            annotations.append({**annotation, "id": len(annotations) + 1, "image_id": len(images)})

    def finish(self) -> list[str]:
        """Write the annotation files."""
        categories = [
            {"id": info.id, "name": info.name, "supercategory": "", "color": list(info.color)}
            for info in self.classes
        ]
        for split, images in self._images.items():
            content = {
                "info": {"description": f"{self.name}, {split}", "version": "1"},
                "licenses": [],
                "images": images,
                "categories": categories,
                "annotations": self._annotations[split],
            }
            self.folder.write(f"annotations/instances_{split}.json", json_bytes(content))
        return ["Image folders are train/, val/ and test/; annotation files are in annotations/."]
