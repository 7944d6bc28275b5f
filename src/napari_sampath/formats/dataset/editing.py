"""Changes to the images and classes of a dataset that keep the earlier files in `history/`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DatasetError, UnknownNameError
from ...files import Write, write_together
from ...registry import unknown_name
from .history import keep_revision
from .manifest import MANIFEST, dump
from .maps import check_classes, encode_map, read_map
from .names import KINDS, check_name, free_stem, path_of, write_bytes

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...arrays import ClassInfo, UInt8Array
    from .folder import DatasetFolder
    from .manifest import DatasetImage


def read_pixels(dataset: DatasetFolder, name: str) -> UInt8Array:
    """Read the pixels (H, W, 3) of an image; raises as `DatasetFolder.read`."""
    return read_map(dataset.file("images", name), _entry(dataset, name).hw)


def remove_image(dataset: DatasetFolder, name: str, also: Mapping[Path, bytes] | None = None) -> None:
    """Remove an image from a dataset; its files are kept in `history/`.

    Args:
        dataset: The dataset.
        name: Name of the image.
        also: Path in the folder of the dataset -> content of further files that are replaced together with the dataset.

    Raises:
        UnknownNameError: If there is no such image.
        StorageError: If a file cannot be kept or the dataset cannot be written; nothing has changed.
    """
    with dataset._locked():
        entry = _entry(dataset, name)
        _keep(dataset, entry)
        others = {key: image for key, image in dataset.images.items() if key != name}
        manifest = dataclasses.replace(dataset._manifest, images=others)
        contents = {dataset.path / MANIFEST: dump(manifest), **(also or {})}
        writes: dict[Path, Write] = {
            path: partial(write_bytes, content=content) for path, content in contents.items()
        }
        write_together(writes, dataset.path, remove=[dataset.file(kind, name) for kind in KINDS])
        dataset._manifest = manifest


def rename_image(
    dataset: DatasetFolder, name: str, new_name: str, also: Mapping[Path, bytes] | None = None
) -> None:
    """Rename an image of a dataset with all its files, including its history.

    Args:
        dataset: The dataset.
        name: Present name of the image.
        new_name: Its new name; if it is the same, nothing is done.
        also: Path in the folder of the dataset -> content of further files that are replaced together with the dataset.

    Raises:
        UnknownNameError: If there is no such image.
        DatasetError: If another image has the name, ignoring capitals.
        StorageError: If the dataset cannot be written; nothing has changed.
    """
    if new_name == name:
        return
    with dataset._locked():
        entry = _entry(dataset, name)
        if new_name in dataset.images:
            raise DatasetError(f"The dataset has an image '{new_name}' already; choose another name.")
        check_name(new_name, [other for other in dataset.images if other != name])
        stem = free_stem(dataset.path, dataset.images.values(), new_name)
        paths = {kind: dataset.file(kind, name) for kind in KINDS}
        files = {
            path_of(dataset.path, kind, stem): path.read_bytes()
            for kind, path in paths.items()
            if path.is_file()
        }
        renamed = dataclasses.replace(entry, name=new_name, file=stem)
        dataset._write({**files, **(also or {})}, dataset._manifest.with_image(renamed, name), name)


def replace_class(
    dataset: DatasetFolder, class_id: int, into: int | None = None, also: Mapping[Path, bytes] | None = None
) -> None:
    """Remove a class from a dataset; the ids of the other classes do not change.

    Args:
        dataset: The dataset.
        class_id: The class to remove.
        into: Id of the class that gets its pixels; None removes its objects, whose pixels leave the verified area.
        also: Path in the folder of the dataset -> content of further files that are replaced together with the dataset.

    Raises:
        UnknownNameError: If there is no such class.
        DatasetError: If a label map cannot be read.
        StorageError: If the dataset cannot be written; nothing has changed.
    """
    with dataset._locked():
        _class(dataset, class_id)
        if into is not None:
            _class(dataset, into)
        classes = check_classes([info for info in dataset.classes if info.id != class_id])
        files: dict[Path, bytes] = {}
        images: dict[str, DatasetImage] = {}
        for name, entry in dataset.images.items():
            changed = _without_class(dataset, entry, class_id, into, classes)
            images[name] = dataclasses.replace(entry, revision=entry.revision + bool(changed))
            if changed:
                _keep(dataset, entry)
                files.update(changed)
        manifest = dataclasses.replace(dataset._manifest, images=images, classes=classes)
        dataset._write({**files, **(also or {})}, manifest)


def _without_class(
    dataset: DatasetFolder,
    entry: DatasetImage,
    class_id: int,
    into: int | None,
    classes: tuple[ClassInfo, ...],
) -> dict[Path, bytes]:
    """Return the changed files of an image; empty if it has no pixel of the class."""
    maps: dict[str, npt.NDArray[Any]] = {
        "labels": read_map(dataset.file("labels", entry.name), entry.hw).copy()
    }
    pixels = maps["labels"] == class_id
    if not pixels.any():
        return {}
    if into is None:
        for kind in ("annotated", *(["instances"] if entry.instances else [])):
            maps[kind] = read_map(dataset.file(kind, entry.name), entry.hw).copy()
        maps["annotated"] = maps["annotated"].astype(bool)
    for values in maps.values():
        values[pixels] = 0
    if into is not None:
        maps["labels"][pixels] = into
    return {
        dataset.file(kind, entry.name): encode_map(kind, values, classes) for kind, values in maps.items()
    }


def _keep(dataset: DatasetFolder, entry: DatasetImage) -> None:
    files = {kind: dataset.file(kind, entry.name) for kind in KINDS}
    keep_revision(dataset.path / "history" / entry.stem, entry, files)


def _entry(dataset: DatasetFolder, name: str) -> DatasetImage:
    if name not in dataset.images:
        raise UnknownNameError(unknown_name(f"image in '{dataset.path}'", name, list(dataset.images)))
    return dataset.images[name]


def _class(dataset: DatasetFolder, class_id: int) -> None:
    if all(info.id != class_id for info in dataset.classes):
        ids = [f"{info.id} ({info.name})" for info in dataset.classes]
        raise UnknownNameError(unknown_name("class with the id", str(class_id), ids))
