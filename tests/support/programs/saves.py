"""Saves for `killed_saves`: for each, a function that prepares a folder with old content, and one that saves new."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from napari_sampath.annotations.storage import compaction
from napari_sampath.annotations.storage.lines import seal
from napari_sampath.arrays import ClassInfo
from napari_sampath.files import write_together
from napari_sampath.formats import DatasetFolder, Snapshot, export_labels
from napari_sampath.session import FolderQueue
from support.programs import single_saves
from support.programs.journal_victim import open_session

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS = ("png", "tiff", "coco", "coco-polygons", "geojson", "ome-zarr")
FORMATS_WITH_FOLDERS = ("png", "labelme", "yolo", "imagej", "cellpose", "ome-zarr")
CLASSES = (ClassInfo(1, "tumour", (230, 60, 60)), ClassInfo(2, "stroma", (60, 200, 90)))


def snapshot(version: int, name: str = "tile", digest: str = "d1") -> Snapshot:
    """Return an image with labels that contain the number of their version everywhere."""
    classes = np.zeros((40, 50), np.uint8)
    classes[5:15, 5 : 5 + 10 * version] = version
    details: dict[int, dict[str, Any]] = {version: {"source": "brush", "model": f"version {version}"}}
    image = np.random.default_rng(1).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    instances = classes.astype(np.int32)
    verified = classes > 0
    return Snapshot(name, image, classes, instances, verified, CLASSES, details, 0.5, digest)


def prepare_export(folder: Path) -> None:
    export_labels(folder, snapshot(1), FORMATS)
    export_labels(folder, snapshot(1, "other", "d2"), ("png",))


def export(folder: Path) -> None:
    export_labels(folder, snapshot(2), FORMATS)


def first_export(folder: Path) -> None:
    export_labels(folder, snapshot(2), FORMATS_WITH_FOLDERS)


def prepare_dataset(folder: Path) -> None:
    dataset = DatasetFolder.create(folder, CLASSES)
    dataset.save_image(snapshot(1), provenance={"version": 1})
    dataset.save_image(dataclasses.replace(snapshot(1, "other", "d2")), provenance={"version": 1})


def save_sample(folder: Path) -> None:
    DatasetFolder.open(folder).save_image(snapshot(2), provenance={"version": 2})


def rename_sample(folder: Path) -> None:
    DatasetFolder.open(folder).save_image(snapshot(2, "renamed"), provenance={"version": 2}, rename=True)


def prepare_files(folder: Path) -> None:
    for number in range(3):
        (folder / f"{number}.txt").write_bytes(b"1")
    (folder / "folder").mkdir()
    (folder / "folder" / "a.txt").write_bytes(b"1")
    (folder / "gone.txt").write_bytes(b"1")
    (folder / "before.txt").write_bytes(b"1")


def write_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"2")


def save_files(folder: Path) -> None:
    write_together(
        {folder / f"{number}.txt": lambda stream: stream.write(b"2") for number in range(4)},
        folder,
        {folder / "folder": write_folder},
        {folder / "before.txt": folder / "after.txt"},
        [folder / "gone.txt"],
    )


def prepare_journal(folder: Path) -> None:
    session = open_session(folder / "a.jsonl")
    for _ in range(60):
        session.paint([1, 2], [3, 4], 1)
        session.paint([1, 2], [3, 4], 0)
    session.paint([5, 6], [3, 4], 1)
    session.close()
    first, *steps = (folder / "a.jsonl").read_bytes().splitlines(keepends=True)
    # With a short undo history, most lines can be left out.
    header = json.loads(first)
    del header["sum"]
    (folder / "a.jsonl").write_bytes(
        b"".join([seal(header | {"history": {"steps": 3, "bytes": 2**20}}), *steps])
    )


def compact_journal(folder: Path) -> None:
    compaction.MIN_BYTES = 0
    open_session(folder / "a.jsonl").close()


def prepare_states(folder: Path) -> None:
    (folder / "images").mkdir()
    Image.fromarray(snapshot(1).image).save(folder / "images" / "a.png")


def save_states(folder: Path) -> None:
    queue = FolderQueue(folder / "images", folder / "states")
    queue.mark("a.png", "in progress")
    queue.mark("a.png", "done", 0.5)


SCENARIOS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "files": (prepare_files, save_files),
    "export": (prepare_export, export),
    "first export": (lambda folder: None, first_export),
    "sample": (prepare_dataset, save_sample),
    "renamed sample": (prepare_dataset, rename_sample),
    "journal": (prepare_journal, compact_journal),
    "states": (prepare_states, save_states),
    **single_saves.SCENARIOS,
}
