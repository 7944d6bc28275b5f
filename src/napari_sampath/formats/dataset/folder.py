"""A dataset folder: images, label maps and metadata, written by annotation sessions and read by training.

dataset.json          schema version, classes with colours, splits by slide, one entry per image
images/NAME.png       RGB
labels/NAME.png       indexed, class id of each pixel, 0 for none
instances/NAME.png    16 bits, object number of each pixel; only if objects are separated
annotated/NAME.png    1 bit, the verified area; the loss ignores pixels outside it
provenance/NAME.json  origin of the labels: annotator, model, file ...
history/NAME/1/...    files of earlier revisions
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from ...arrays import ClassInfo
from ...errors import DatasetError, ImageError, UnknownNameError
from ...files import Write, write_atomically, write_together
from ...registry import unknown_name
from ..labels import safe_name
from .history import keep_revision
from .manifest import MANIFEST, DatasetImage, Manifest, check_mpp, check_split, dump, load
from .maps import DatasetItem, check_classes, check_ids, check_maps, encode_maps, merge_classes, read_map
from .names import check_name, free_name, similar_names

if TYPE_CHECKING:
    from ...arrays import UInt8Array
    from ..snapshot import Snapshot

_LOCK = ".lock"


class DatasetFolder:
    """A dataset on disk.

    Several processes may save to one folder: each save locks it and reads its current state. Readers need no lock.

    Args:
        path: A folder with a `dataset.json`; `create` makes a new one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._manifest = load(self.path / MANIFEST)

    @classmethod
    def create(cls, path: str | Path, classes: Sequence[ClassInfo], name: str = "") -> DatasetFolder:
        """Create an empty dataset.

        Args:
            path: The folder; created if missing.
            classes: The classes of the label maps.
            name: Name of the dataset; that of the folder if left out.

        Raises:
            DatasetError: If the folder is a dataset already.
            DuplicateNameError: If two classes share an id or a name.
            StorageError: If the folder cannot be written to.
        """
        path = Path(path).expanduser()
        if (path / MANIFEST).exists():
            raise DatasetError(f"'{path}' is a dataset already; open it, or choose another folder.")
        manifest = Manifest(name or path.name, check_classes(classes))
        write_atomically(path / MANIFEST, partial(_write_bytes, content=dump(manifest)))
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> DatasetFolder:
        """Open a dataset.

        Raises:
            DatasetError: If there is none, or its `dataset.json` is damaged or of a newer version.
        """
        return cls(path)

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Return True if a folder is a dataset."""
        return (Path(path).expanduser() / MANIFEST).is_file()

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return self._manifest.name

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes of the label maps."""
        return self._manifest.classes

    @property
    def images(self) -> Mapping[str, DatasetImage]:
        """Name -> entry of the image, in the order of the first save."""
        return self._manifest.images

    @property
    def slide_ends_before(self) -> str:
        """Text in an image name before which the slide name ends; empty if names do not contain the slide."""
        return self._manifest.slide_ends_before

    def find_slides(self, ends_before: str) -> None:
        """Set the rule that finds the slide or case in image names, for existing and future images.

        Images saved with an explicit slide keep it. If a slide contains training and validation images, all become
        training images, so that no image that was trained on is used for validation.

        Args:
            ends_before: Text before which the slide name ends, for example "-"; "" if names do not contain the slide.
        """
        with self._locked():
            self._write({}, self._manifest.with_slides(ends_before))

    def find(self, name: str, pixels: UInt8Array) -> str | None:
        """Return the name under which an image (H, W, 3) is stored; None if it is not stored.

        Only the pixels of images with this name, or with this name and a number, are compared.
        """
        for stored in similar_names(name, self.images):
            same_size = self.images[stored].hw == pixels.shape[:2]
            if same_size and np.array_equal(self._pixels(stored), pixels):
                return stored
        return None

    def split_of(self, name: str) -> str:
        """Return the split of the slide of an image: "train", "val" or "test"."""
        return self._manifest.split_for(self._entry(name).slide)

    def set_split(self, slide: str, split: str) -> None:
        """Move all images of a slide or case to a split.

        Raises:
            DatasetError: If there is no such split.
            UnknownNameError: If there is no image of that slide.
        """
        slides = {image.slide for image in self.images.values()}
        if slide not in slides:
            raise UnknownNameError(unknown_name("slide or case", slide, sorted(slides)))
        with self._locked():
            splits = {**self._manifest.splits, slide: check_split(split)}
            self._write({}, dataclasses.replace(self._manifest, splits=splits))

    def set_classes(self, classes: Sequence[ClassInfo]) -> None:
        """Rename and recolour classes by their ids, and add new ones.

        Raises:
            DatasetError: If the id of an existing class is missing.
        """
        with self._locked():
            removed = [info for info in self.classes if info.id not in {new.id for new in classes}]
            if removed:
                raise DatasetError(
                    f"The class '{removed[0].name}' (id {removed[0].id}) is missing from the new list, and label "
                    "maps may hold it; keep it."
                )
            self._write({}, dataclasses.replace(self._manifest, classes=check_classes(classes)))

    def save_image(
        self,
        snapshot: Snapshot,
        group: str = "",
        provenance: Mapping[str, Any] | None = None,
        rename: bool = False,
    ) -> DatasetImage:
        """Save an image and its labels; files of a replaced image of the same name are kept in `history/`.

        Either all files are replaced, or none. Saving the same content again changes nothing.

        Args:
            snapshot: The image and its labels. Classes, if given, are matched by name (ignoring capitals; the dataset
                keeps its spelling), their ids are changed to those of the dataset, and new classes are added. A class
                of the replaced image that no image uses any more, for example after renaming it, is removed.
            group: Slide or case; if left out, that of the replaced image, else the one found in its name, see
                `find_slides`. A new slide is assigned a split, see `Manifest.split_for`.
            provenance: JSON values about the origin of the labels.
            rename: Replace only an image with the same pixels; if another image has the name, save this one under a new
                name, such as "tile (2)".

        Returns:
            The image's new entry in `dataset.json`.

        Raises:
            DatasetError: If the arrays are inconsistent, or a value is the id of no class.
            StorageError: If a file cannot be written; the earlier version is untouched.
        """
        maps, mpp = check_maps(snapshot), check_mpp(snapshot.mpp)
        with self._locked():
            name = self._unique_name(snapshot.name, maps["images"]) if rename else snapshot.name
            check_name(name, self.images)
            classes, class_map = merge_classes(self.classes, maps["labels"], snapshot.classes)
            if snapshot.classes is not None:
                classes = self._without_unused(classes, name, class_map)
            check_ids(name, class_map, classes)
            content = encode_maps(maps | {"labels": class_map}, classes, provenance or {})
            before = self.images.get(name)
            group = group or ("" if before is None else before.group) or self._manifest.slide_in(name)
            entry = DatasetImage(name, class_map.shape, group, mpp, "instances" in maps, 1, "")
            if before is not None:
                entry = dataclasses.replace(entry, revision=before.revision, saved=before.saved)
                if entry == before and classes == self.classes and self._holds(name, content):
                    return before
                files = {kind: self.file(kind, name) for kind in (*content, "instances")}
                keep_revision(self.path / "history" / safe_name(name), before, files)
                entry = dataclasses.replace(entry, revision=before.revision + 1)
            entry = dataclasses.replace(entry, saved=datetime.now(UTC).isoformat(timespec="seconds"))
            manifest = dataclasses.replace(self._manifest, classes=classes).with_image(entry)
            self._write({self.file(kind, name): data for kind, data in content.items()}, manifest)
        return entry

    def read(self, name: str) -> DatasetItem:
        """Read an image with its labels and provenance.

        Raises:
            UnknownNameError: If there is no such image.
            DatasetError: If files are missing or have another size than in `dataset.json`.
            ImageError: If a file is damaged.
        """
        entry = self._entry(name)
        maps = {
            kind: read_map(self.file(kind, name), entry.hw)
            for kind in ("images", "labels", "annotated", *(["instances"] if entry.instances else []))
        }
        try:
            provenance = json.loads(self.file("provenance", name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"'{self.file('provenance', name)}' cannot be read ({error}); restore it, or save the image again."
            ) from error
        return DatasetItem(
            maps["images"],
            maps["labels"],
            maps.get("instances"),
            maps["annotated"].astype(bool),
            provenance,
        )

    def file(self, kind: str, name: str) -> Path:
        """Return the path of a file of an image; kind: "images", "labels", "instances", "annotated" or "provenance"."""
        return self.path / kind / f"{safe_name(name)}.{'json' if kind == 'provenance' else 'png'}"

    def _without_unused(
        self, classes: tuple[ClassInfo, ...], name: str, labels: UInt8Array
    ) -> tuple[ClassInfo, ...]:
        """Remove classes that no image uses any more when an image gets new labels (H, W)."""
        if name not in self.images:
            return classes
        try:
            unused = self._ids_in(name) - set(np.unique(labels).tolist())
            for other in self.images:
                if unused and other != name:
                    unused -= self._ids_in(other)
        except (DatasetError, ImageError):  # A damaged file may contain any class.
            return classes
        return tuple(info for info in classes if info.id not in unused)

    def _ids_in(self, name: str) -> set[int]:
        labels = read_map(self.file("labels", name), self.images[name].hw)
        return set(np.unique(labels).tolist()) - {0}

    def _entry(self, name: str) -> DatasetImage:
        if name not in self.images:
            raise UnknownNameError(unknown_name(f"image in '{self.path}'", name, list(self.images)))
        return self.images[name]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the folder and read the current `dataset.json`."""
        with FileLock(self.path / _LOCK):
            self._manifest = load(self.path / MANIFEST)
            yield

    def _write(self, files: Mapping[Path, bytes], manifest: Manifest) -> None:
        """Write the changed files and, last, `dataset.json`."""
        writes: dict[Path, Write] = {
            path: partial(_write_bytes, content=content)
            for path, content in files.items()
            if not _has_content(path, content)
        }
        writes[self.path / MANIFEST] = partial(_write_bytes, content=dump(manifest))
        write_together(writes)
        self._manifest = manifest

    def _unique_name(self, name: str, pixels: UInt8Array) -> str:
        """Return the name under which an image is stored, otherwise an unused name; a damaged image is replaced."""
        stored = self.find(name, pixels)
        if stored is not None:
            return stored
        if name in self.images and self.images[name].hw == pixels.shape[:2] and self._pixels(name).size == 0:
            return name
        return free_name(name, self.images)

    def _pixels(self, name: str) -> UInt8Array:
        """Read the pixels of an image; empty if they cannot be read."""
        try:
            return read_map(self.file("images", name), self.images[name].hw)
        except (DatasetError, ImageError):
            return np.zeros((0, 0, 3), np.uint8)

    def _holds(self, name: str, content: Mapping[str, bytes]) -> bool:
        return all(_has_content(self.file(kind, name), data) for kind, data in content.items())


def _has_content(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def _write_bytes(stream: Any, content: bytes) -> None:
    stream.write(content)
