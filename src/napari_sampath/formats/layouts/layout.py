"""The layouts by name, and what all of them write."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...arrays import ClassInfo
from ...registry import lookup
from .coco import CocoWriter
from .folder import ExportFolder
from .masks import MasksWriter
from .nnunet import NnunetWriter
from .nuclei import CellvitWriter, HovernetWriter
from .sample import Sample
from .writer import LayoutWriter
from .yolo import YoloWriter

MakeWriter = Callable[[ExportFolder, tuple[ClassInfo, ...], str, bool], LayoutWriter]
"""Makes the writer of a layout; arguments: see `LayoutWriter`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout of folders and files."""

    name: str
    """Name for the command line."""
    label: str
    """Name in the docks."""
    summary: str
    """What it contains, and who reads it."""
    make: MakeWriter
    can_ignore: bool = False
    """Whether pixels can be marked as ignored."""


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "masks",
            "Images and masks",
            "Images, class maps and instance maps as PNG, in one folder for each split; read by most programs.",
            MasksWriter,
            can_ignore=True,
        ),
        Layout(
            "coco",
            "COCO (polygons)",
            "Polygons, one annotation file for each split; read by pycocotools, MMDetection, supervision.",
            partial(CocoWriter, polygons=True),
        ),
        Layout(
            "coco-rle",
            "COCO (run lengths)",
            "Run lengths, one annotation file for each split; read by pycocotools and supervision.",
            partial(CocoWriter, polygons=False),
        ),
        Layout(
            "yolo",
            "YOLO segmentation",
            "Text files with polygons and a data.yaml; read by Ultralytics.",
            YoloWriter,
        ),
        Layout(
            "nnunet",
            "nnU-Net v2",
            "A raw dataset of nnU-Net v2 with class maps and the splits; for nnUNetv2_plan_and_preprocess.",
            NnunetWriter,
            can_ignore=True,
        ),
        Layout(
            "hovernet",
            "HoVer-Net (.npy)",
            "Arrays (H, W, 5) of RGB, instance map and type map, as extract_patches.py of HoVer-Net writes them.",
            HovernetWriter,
        ),
        Layout(
            "cellvit",
            "CellViT (.npy)",
            "Images as PNG and a .npy with instance map and type map for each, in folds as CellViT reads PanNuke.",
            CellvitWriter,
        ),
    )
}
"""Name -> layout."""


def find_layout(name: str) -> Layout:
    """Return a layout.

    Raises:
        UnknownNameError: If there is no layout of that name.
    """
    return lookup("layout", LAYOUTS, name)


def index_of(samples: Sequence[dict[str, Any]]) -> bytes:
    """Encode `index.csv`: name, split, slide or case, and origin of each image."""
    stream = io.StringIO()
    names = ("name", "group", "split", "source", "x_px", "y_px", "mpp", "objects", "verified_share")
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(samples)
    return stream.getvalue().encode("utf-8", "surrogatepass")


def index_row(sample: Sample) -> dict[str, Any]:
    """Return the row of an image in `index.csv`."""
    return {
        "name": sample.name,
        "group": sample.slide,
        "split": sample.split,
        "source": sample.source,
        "x_px": sample.origin_rc[1],
        "y_px": sample.origin_rc[0],
        "mpp": "" if sample.mpp is None else f"{sample.mpp:g}",
        "objects": len(np.unique(sample.instance_map[sample.instance_map > 0])),
        "verified_share": f"{float((sample.verified | (sample.class_map > 0)).mean()):.4f}",
    }
