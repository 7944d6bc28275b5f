"""A dataset as a folder: images, label maps and what is known of them; what annotating writes and training reads.

dataset.json          schema version, classes with colours, splits by slide, one entry an image
images/NAME.png       RGB
labels/NAME.png       indexed, class id of each pixel, 0 for none
instances/NAME.png    16 bits, number of the object of each pixel, if there are objects
annotated/NAME.png    1 bit, the verified area; pixels outside are ignored in the loss
provenance/NAME.json  who, with which model, from which file: what the caller says
history/NAME/1/...    the same files of earlier revisions
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
from .history import keep
from .manifest import MANIFEST, DatasetImage, Manifest, check_mpp, check_split, dump, load
from .maps import DatasetItem, adopt_classes, check_classes, check_ids, check_maps, encode_maps, read_map
from .names import alike, check_name, free_name

if TYPE_CHECKING:
    from ...arrays import UInt8Array
    from ..snapshot import Snapshot

_LOCK = ".lock"


class DatasetFolder:
    """A dataset on disk; `create` makes one and `open` finds one.

    Several processes may save into one folder: each save reads what is there under a lock. Readers need none.

    Args:
        path: The folder, which holds a `dataset.json`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._manifest = load(self.path / MANIFEST)

    @classmethod
    def create(cls, path: str | Path, classes: Sequence[ClassInfo], name: str = "") -> DatasetFolder:
        """Make an empty dataset.

        Args:
            path: The folder; made if missing.
            classes: What the label maps tell apart.
            name: Name of the dataset; that of the folder if left out.

        Raises:
            DatasetError: If there is a dataset already.
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
        """Say whether a folder is a dataset."""
        return (Path(path).expanduser() / MANIFEST).is_file()

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return self._manifest.name

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """What the label maps tell apart."""
        return self._manifest.classes

    @property
    def images(self) -> Mapping[str, DatasetImage]:
        """Name -> what is known of the image, in the order of the first save."""
        return self._manifest.images

    @property
    def slide_ends_before(self) -> str:
        """Text in an image's name before which the name of its slide ends; empty if names tell of no slide."""
        return self._manifest.slide_ends_before

    def find_slides(self, ends_before: str) -> None:
        """Say how the name of an image tells of its slide or case, for images that are there and those to come.

        Images whose slide was said by whoever saved them keep it. A slide that comes together from images that trained
        and images that validated trains: what has been learnt from must not validate.

        Args:
            ends_before: Text before which the slide's name ends, for example "-"; "" if names tell of no slide.
        """
        with self._locked():
            self._write({}, self._manifest.with_slides(ends_before))

    def find(self, name: str, pixels: UInt8Array) -> str | None:
        """Return the name under which an image (H, W, 3) is kept, None if it is not: a name alone says little.

        The pictures of like names are read, so that takes a moment. One that cannot be read is not this image.
        """
        for one in alike(name, self.images):
            same_size = self.images[one].hw == pixels.shape[:2]
            if same_size and np.array_equal(self._picture(one), pixels):
                return one
        return None

    def split_of(self, name: str) -> str:
        """Return the split of an image, "train", "val" or "test": that of its slide."""
        return self._manifest.split_for(self._entry(name).slide)

    def set_split(self, slide: str, split: str) -> None:
        """Move all images of a slide or case to a split.

        Raises:
            DatasetError: If there is no such split.
            UnknownNameError: If no image is of that slide.
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
            DatasetError: If an id that is there now is left out.
        """
        with self._locked():
            lost = [c for c in self.classes if c.id not in {new.id for new in classes}]
            if lost:
                raise DatasetError(
                    f"The class '{lost[0].name}' (id {lost[0].id}) is missing from the new list, and label maps may "
                    "hold it; keep it."
                )
            self._write({}, dataclasses.replace(self._manifest, classes=check_classes(classes)))

    def save_image(
        self,
        snapshot: Snapshot,
        group: str = "",
        provenance: Mapping[str, Any] | None = None,
        rename: bool = False,
    ) -> DatasetImage:
        """Save an image and its labels; an image of the same name is replaced, and its files kept in `history/`.

        Either all files are replaced, or none. Saving the same content again changes nothing.

        Args:
            snapshot: The image and its labels. Classes, if given, are matched by name (ignoring capitals; the dataset
                keeps its spelling), their ids changed to those of the dataset, and new ones added. A class that this
                image held and that no image holds any more, for example after renaming it, is removed.
            group: Slide or case; if left out, the one known for this image, else the one in its name, see
                `find_slides`. A new one is assigned a split, see `Manifest.split_for`.
            provenance: JSON values about the origin of the labels.
            rename: Replace only an image of the same pixels; where another image has the name, save this one under a
                name of its own, such as "tile (2)".

        Returns:
            The image's new entry in `dataset.json`.

        Raises:
            DatasetError: If the arrays do not fit together, or a value stands for no class.
            StorageError: If a file cannot be written; the earlier version is untouched.
        """
        maps, mpp = check_maps(snapshot), check_mpp(snapshot.mpp)
        with self._locked():
            name = self._own_name(snapshot.name, maps["images"]) if rename else snapshot.name
            check_name(name, self.images)
            classes, class_map = adopt_classes(self.classes, maps["labels"], snapshot.classes)
            if snapshot.classes is not None:
                classes = self._without_lost(classes, name, class_map)
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
                keep(self.path / "history" / safe_name(name), before, files)
                entry = dataclasses.replace(entry, revision=before.revision + 1)
            entry = dataclasses.replace(entry, saved=datetime.now(UTC).isoformat(timespec="seconds"))
            manifest = dataclasses.replace(self._manifest, classes=classes).with_image(entry)
            self._write({self.file(kind, name): data for kind, data in content.items()}, manifest)
        return entry

    def read(self, name: str) -> DatasetItem:
        """Read an image and all that was saved of it.

        Raises:
            UnknownNameError: If there is no such image.
            DatasetError: If files are missing or have other sizes than `dataset.json` says.
            ImageError: If a file is damaged.
        """
        entry = self._entry(name)
        found = {
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
            found["images"],
            found["labels"],
            found.get("instances"),
            found["annotated"].astype(bool),
            provenance,
        )

    def file(self, kind: str, name: str) -> Path:
        """Return the file of an image: kind is "images", "labels", "instances", "annotated" or "provenance"."""
        return self.path / kind / f"{safe_name(name)}.{'json' if kind == 'provenance' else 'png'}"

    def _without_lost(
        self, classes: tuple[ClassInfo, ...], name: str, labels: UInt8Array
    ) -> tuple[ClassInfo, ...]:
        """Leave out classes of which the last pixel goes when an image gets these labels (H, W)."""
        if name not in self.images:
            return classes
        try:
            lost = self._ids_in(name) - set(np.unique(labels).tolist())
            for other in self.images:
                if lost and other != name:
                    lost -= self._ids_in(other)
        except (DatasetError, ImageError):  # Nobody knows what a damaged file held.
            return classes
        return tuple(info for info in classes if info.id not in lost)

    def _ids_in(self, name: str) -> set[int]:
        labels = read_map(self.file("labels", name), self.images[name].hw)
        return set(np.unique(labels).tolist()) - {0}

    def _entry(self, name: str) -> DatasetImage:
        if name not in self.images:
            raise UnknownNameError(unknown_name(f"image in '{self.path}'", name, list(self.images)))
        return self.images[name]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock, with `dataset.json` as it is now."""
        with FileLock(self.path / _LOCK):
            self._manifest = load(self.path / MANIFEST)
            yield

    def _write(self, files: Mapping[Path, bytes], manifest: Manifest) -> None:
        """Write files, those that changed alone, and `dataset.json` last."""
        writes: dict[Path, Write] = {
            path: partial(_write_bytes, content=content)
            for path, content in files.items()
            if not _same(path, content)
        }
        writes[self.path / MANIFEST] = partial(_write_bytes, content=dump(manifest))
        write_together(writes)
        self._manifest = manifest

    def _own_name(self, name: str, pixels: UInt8Array) -> str:
        """Return the name under which an image is kept, else a free one; that of a damaged picture counts as such."""
        found = self.find(name, pixels)
        if found is not None:
            return found
        if name in self.images and self.images[name].hw == pixels.shape[:2] and self._picture(name).size == 0:
            return name
        return free_name(name, self.images)

    def _picture(self, name: str) -> UInt8Array:
        """Read the pixels of an image; empty if they cannot be read."""
        try:
            return read_map(self.file("images", name), self.images[name].hw)
        except (DatasetError, ImageError):
            return np.zeros((0, 0, 3), np.uint8)

    def _holds(self, name: str, content: Mapping[str, bytes]) -> bool:
        return all(_same(self.file(kind, name), one) for kind, one in content.items())


def _same(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def _write_bytes(stream: Any, content: bytes) -> None:
    stream.write(content)
