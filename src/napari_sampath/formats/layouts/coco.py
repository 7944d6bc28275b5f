"""COCO: `annotations/instances_train.json` and the images in `train/`, and the same for `val` and `test`.

https://cocodataset.org/#format-data. Categories have the class numbers of the project.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ...arrays import ClassInfo
from ..outlines.coco_writing import annotation_of
from .folder import ExportFolder
from .pixels import json_bytes, png
from .sample import Sample


class CocoWriter:
    """Writes one annotation file for each split.

    Args:
        folder: The folder to write to.
        classes: The class list of the project.
        name: Name of the project.
        ignores: Not supported by COCO.
        polygons: Write polygons; an object with holes is cut into parts without holes. Otherwise run lengths.
    """

    root = ""

    def __init__(
        self,
        folder: ExportFolder,
        classes: tuple[ClassInfo, ...],
        name: str,
        ignores: bool,
        polygons: bool,
    ) -> None:
        self._folder, self._classes, self._name, self._polygons = folder, classes, name, polygons
        self._images: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._annotations: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def add(self, sample: Sample) -> None:
        """Write one image, and keep its annotations for the file of its split."""
        file_name = f"{sample.name}.png"
        self._folder.write(f"{sample.split}/{file_name}", png(sample.image))
        images, annotations = self._images[sample.split], self._annotations[sample.split]
        height, width = sample.class_map.shape
        entry = {"id": len(images) + 1, "file_name": file_name, "height": height, "width": width}
        images.append(entry | {"slide": sample.slide, "mpp": sample.mpp})
        for obj in sample.objects.items:
            annotation = annotation_of(obj, sample.objects.hw, self._polygons)
            annotations.append({**annotation, "id": len(annotations) + 1, "image_id": len(images)})

    def finish(self) -> list[str]:
        """Write the annotation files."""
        categories = [
            {"id": info.id, "name": info.name, "supercategory": "", "color": list(info.color)}
            for info in self._classes
        ]
        for split, images in self._images.items():
            content = {
                "info": {"description": f"{self._name}, {split}", "version": "1"},
                "licenses": [],
                "images": images,
                "categories": categories,
                "annotations": self._annotations[split],
            }
            self._folder.write(f"annotations/instances_{split}.json", json_bytes(content))
        return ["Image folders are train/, val/ and test/; annotation files are in annotations/."]
