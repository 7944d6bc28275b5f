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
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import ClassInfo
from ...errors import DatasetError, ImageError, UnknownNameError
from ...files import (
    Write,
    file_stem,
    free_name,
    locked,
    remove_staged,
    settle,
    write_atomically,
    write_together,
)
from ...registry import unknown_name
from .history import keep_revision
from .manifest import MANIFEST, DatasetImage, Manifest, check_mpp, check_split, dump, load
from .maps import (
    DatasetItem,
    check_classes,
    check_ids,
    check_maps,
    encode_maps,
    merge_classes,
    read_item,
    read_map,
)
from .names import KINDS, check_name, free_stem, has_content, path_of, similar_names, write_bytes

if TYPE_CHECKING:
    from ...arrays import UInt8Array
    from ..snapshot import Snapshot

_LOCK = ".lock"
_LOCK_S = 60.0


class DatasetFolder:
    """A dataset on disk.

    Several processes may save to one folder: each save locks it and reads its current state. Readers need no lock. If a
    process is killed while it saves, either all of its changes are stored or none.

    Args:
        path: A folder with a `dataset.json`; `create` makes a new one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        settle(self.path)
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
        if os.path.lexists(path / MANIFEST):
            raise DatasetError(f"'{path}' is a dataset already; open it, or choose another folder.")
        manifest = Manifest(name or path.name, check_classes(classes))
        write_atomically(path / MANIFEST, partial(write_bytes, content=dump(manifest)))
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
        return os.path.isfile(Path(path).expanduser() / MANIFEST)

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
            earlier_name = self._earlier_name(snapshot) if rename else ""
            name = self._unique_name(snapshot.name, maps["images"]) if rename else snapshot.name
            check_name(name, self.images)
            classes, class_map = merge_classes(self.classes, maps["labels"], snapshot.classes)
            if snapshot.classes is not None:
                classes = self._without_unused(classes, earlier_name or name, class_map)
            check_ids(name, class_map, classes)
            content = encode_maps(maps | {"labels": class_map}, classes, provenance or {})
            before = self.images.get(earlier_name or name)
            group = group or self._group_before(before) or self._manifest.slide_in(name)
            stem = before.stem if before else ""
            if before is None or earlier_name:
                stem = free_stem(self.path, self.images.values(), name)
            values = (group, mpp, "instances" in maps, 1, "", stem, snapshot.digest)
            entry = DatasetImage(name, class_map.shape, *values)
            if before is not None:
                kept = {key: getattr(before, key) for key in ("revision", "saved", "file", "digest")}
                same = dataclasses.replace(entry, **kept) == before and classes == self.classes
                if same and all(has_content(self.file(kind, name), data) for kind, data in content.items()):
                    return before
                entry = self._keep(before, entry)
            entry = dataclasses.replace(entry, saved=datetime.now(UTC).isoformat(timespec="seconds"))
            manifest = dataclasses.replace(self._manifest, classes=classes).with_image(entry, earlier_name)
            new = {path_of(self.path, kind, stem): data for kind, data in content.items()}
            self._write(new, manifest, earlier_name)
        return entry

    def read(self, name: str) -> DatasetItem:
        """Read an image with its labels and provenance.

        Raises:
            UnknownNameError: If there is no such image.
            DatasetError: If files are missing or have another size than in `dataset.json`.
            ImageError: If a file is damaged.
        """
        while True:
            try:
                item = read_item(self._entry(name), lambda kind: self.file(kind, name))
            except (DatasetError, ImageError):
                if not self._reload(name):
                    raise
            else:
                if not self._reload(name):
                    return item

    def _reload(self, name: str) -> bool:
        """Read `dataset.json` again; return True if an image was saved in the meantime and can be read again."""
        settle(self.path)
        before, self._manifest = self.images.get(name), load(self.path / MANIFEST)
        return name in self.images and self.images[name] != before

    def file(self, kind: str, name: str) -> Path:
        """Return the path of a file of an image; kind: "images", "labels", "instances", "annotated" or "provenance"."""
        return path_of(self.path, kind, self.images[name].stem if name in self.images else file_stem(name))

    def _earlier_name(self, snapshot: Snapshot) -> str:
        """Return the name under which a renamed image is stored; "" if it is new or has not been renamed."""
        same = [n for n, image in self.images.items() if snapshot.digest and image.digest == snapshot.digest]
        return "" if not same or same[0] in similar_names(snapshot.name, same) else same[0]

    def _group_before(self, image: DatasetImage | None) -> str:
        """Return the slide or case of an image; "" if it was derived from the name of the image."""
        return "" if image is None or image.group == self._manifest.slide_in(image.name) else image.group

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
        with locked(self.path / MANIFEST, _LOCK_S, _LOCK):
            settle(self.path)
            remove_staged([self.path, *(self.path / kind for kind in KINDS), self.path / "history"])
            self._manifest = load(self.path / MANIFEST)
            yield

    def _write(self, files: Mapping[Path, bytes], manifest: Manifest, earlier_name: str = "") -> None:
        """Write the changed files and `dataset.json`; remove the files of an image that was renamed."""
        writes: dict[Path, Write] = {
            path: partial(write_bytes, content=content)
            for path, content in files.items()
            if not has_content(path, content)
        }
        writes[self.path / MANIFEST] = partial(write_bytes, content=dump(manifest))
        rename, remove = {}, []
        if earlier_name:
            before = self.images[earlier_name].stem
            after = next(path.stem for path in files)
            rename = {self.path / "history" / before: self.path / "history" / after}
            remove = [path_of(self.path, kind, before) for kind in KINDS]
        write_together(writes, self.path, rename=rename, remove=remove)
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

    def _keep(self, before: DatasetImage, entry: DatasetImage) -> DatasetImage:
        """Keep the files of an image in `history/`, and return its entry with the number of the next revision."""
        files = {kind: self.file(kind, before.name) for kind in KINDS}
        keep_revision(self.path / "history" / before.stem, before, files)
        return dataclasses.replace(entry, revision=before.revision + 1)
