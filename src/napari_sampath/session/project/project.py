"""A project on disk: a dataset folder with a `project.json` that lists the images that belong to it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ...annotations.model.classes import checked
from ...arrays import ClassInfo, UInt8Array
from ...errors import DatasetError, DuplicateNameError, UnknownNameError
from ...files import check_length, free_name, locked, name_key, write_atomically
from ...formats import DatasetFolder
from ...formats.dataset import editing
from ...formats.dataset.manifest import slide_in
from ...formats.labels import Box
from ...registry import unknown_name
from ..files.slide_windows import samples_of
from .class_list import extended, with_classes, without_class, write_classes
from .content import FILE, Draft, ProjectContent, ProjectImage, dump, load
from .placing import place, set_aside

LOCK_S = 60.0
"""How long to wait for another program that changes the project, in seconds."""


class Project:
    """A folder of images that a person opens, closes and names.

    The annotations of an image are in its journal, whether it is in a project or not. The project lists its
    images, their classes, and the images on which heads are trained; for these, a training sample is saved in the
    dataset of the project, which is the same folder.

    Every change locks and reads `project.json`, so that several programs may use one project, and is saved before the
    method returns; if it raises, nothing has changed. The methods may be called in any thread.

    Args:
        path: Folder of an existing project, or of a dataset of an earlier version, which is read as a project.

    Raises:
        DatasetError: If the folder is neither, or a file of it is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.abspath(Path(path).expanduser()))
        self._dataset = DatasetFolder.open(self.path)
        self._content = self._read()

    @classmethod
    def create(cls, path: str | Path, name: str = "", classes: Sequence[ClassInfo] = ()) -> Project:
        """Create a project in a new or empty folder, or in a folder of images.

        Raises:
            DatasetError: If the folder is a project or dataset already.
            ClassListError, DuplicateNameError: If the class list is invalid.
            StorageError: If the folder cannot be written.
        """
        path, classes = Path(path).expanduser(), checked(classes)
        if cls.exists(path):
            raise DatasetError(f"'{path}' is a project already; open it, or choose another folder.")
        check_length(name.strip(), "project", DatasetError)
        dataset = DatasetFolder.create(path, (), name.strip() or path.resolve().name)
        content = dump(ProjectContent(dataset.name, classes))
        write_atomically(path / FILE, lambda stream: stream.write(content))
        return cls(path)

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Return True if a folder is a project, or a dataset that can be opened as one."""
        return DatasetFolder.exists(path)

    @property
    def content(self) -> ProjectContent:
        """The content of `project.json`."""
        return self._content

    @property
    def name(self) -> str:
        """Name of the project."""
        return self._content.name

    @property
    def notes(self) -> str:
        """Notes of the user."""
        return self._content.notes

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The class list, in the order of the number keys."""
        return self._content.classes

    @property
    def images(self) -> Mapping[str, ProjectImage]:
        """Digest of the pixels -> image, in the order in which the images were added."""
        return self._content.images

    @property
    def renamed(self) -> Mapping[str, str]:
        """`ClassInfo.key` of former names of classes -> current names."""
        return self._content.renamed

    @property
    def duplicates(self) -> Mapping[str, str]:
        """Name of each training sample with the same pixels as another image -> digest of these pixels."""
        return self._content.duplicates

    @property
    def dataset(self) -> DatasetFolder:
        """The training samples."""
        return self._dataset

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of training samples of an earlier version that are not listed as images yet; see `listing_job`."""
        names = self._dataset.images
        listed = {name for image in self.images.values() for name in samples_of(image.sample, names)}
        listed |= self._content.duplicates.keys()
        return tuple(name for name in names if name not in listed)

    def find(self, digest: str) -> ProjectImage | None:
        """Return the image with a digest of its pixels; None if it is not in the project."""
        return self.images.get(digest)

    def image(self, name: str) -> ProjectImage:
        """Return the image with a name or digest.

        Raises:
            UnknownNameError: If there is none.
        """
        for image in self.images.values():
            if name in (image.name, image.digest):
                return image
        names = [image.name for image in self.images.values()]
        raise UnknownNameError(unknown_name(f"image in '{self.name}'", name, names))

    def file_of(self, image: ProjectImage) -> Path | None:
        """Return the path of an image file; None if it is missing."""
        # An absolute path stays as it is.
        candidates = [
            Path(os.path.normpath(self.path / file)) for file in (image.relative, image.file) if file
        ]
        if image.sample and image.sample in self._dataset.images:
            candidates.append(self._dataset.file("images", image.sample))
        return next((path for path in candidates if path.exists()), None)

    def slide_of(self, image: ProjectImage) -> str:
        """Return the slide or case of an image."""
        entry = self._dataset.images.get(image.sample)
        if image.slide or entry is None:
            return image.slide or slide_in(image.name, self._dataset.slide_ends_before) or image.name
        return entry.slide

    def split_of(self, image: ProjectImage) -> str:
        """Return the split of an image: "train", "val", "test", or "" if none is assigned yet."""
        samples = samples_of(image.sample, self._dataset.images)
        return self._dataset.split_of(samples[0]) if samples else ""

    def reload(self) -> None:
        """Read the files again, because another program may have changed them."""
        self._dataset = DatasetFolder.open(self.path)
        self._content = self._read()

    def rename(self, name: str) -> None:
        """Rename the project; its folder keeps its name."""
        with self.editing() as draft:
            draft.rename(name.strip())

    def set_notes(self, notes: str) -> None:
        """Replace the notes."""
        with self.editing() as draft:
            draft.content = replace(draft.content, notes=notes)

    def add(
        self,
        digest: str,
        hw: tuple[int, int],
        name: str,
        file: Path | None = None,
        copy: bool = False,
        training: bool = True,
        mpp: float | None = None,
        slide: str = "",
        pixels: UInt8Array | None = None,
    ) -> ProjectImage:
        """Add an image.

        Args:
            digest: `pixel_digest` of its pixels.
            hw: Size (H, W) in pixels.
            name: Name; a number is appended if another image has it.
            file: The file, which is used in place.
            copy: Copy the file into the project.
            training: Whether heads are trained on it.
            mpp: Micrometres per pixel.
            slide: Slide or case.
            pixels: (H, W, 3) uint8, saved as PNG in the project if there is no file.

        Raises:
            DuplicateNameError: If the image is in the project already, under any name.
            DatasetError: If there is neither a file nor pixels.
            StorageError: If the project cannot be written.
        """
        if file is None and pixels is None:
            raise DatasetError(f"'{name}' has no file; save it as an image first.")
        name = " ".join(name.split()) or "image"
        with self.editing() as draft:
            present = draft.content.images.get(digest)
            if present is not None:
                raise DuplicateNameError(
                    f"'{name}' has the same pixels as '{present.name}', which is in the project already; "
                    "open that image."
                )
            free = free_name(name, (image.name for image in draft.content.images.values()))
            path, relative = place(self.path, free, file, copy, pixels)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            image = ProjectImage(digest, free, hw, path, relative, mpp, slide.strip(), training, added=now)
            draft.put(image)
        return image

    def remove(self, digest: str) -> None:
        """Remove an image; its training sample goes to the history of the dataset, its journal is kept."""
        with self.editing() as draft:
            image = draft.image(digest)
            draft.content = draft.content.without_image(digest)
            for sample in samples_of(image.sample, self._dataset.images):
                editing.remove_image(self._dataset, sample, self._together(draft))
        set_aside(self.path, image.file)

    def rename_image(self, digest: str, name: str) -> ProjectImage:
        """Rename an image and its training sample; the image file keeps its name.

        Raises:
            DuplicateNameError: If another image has the name, ignoring capitals.
        """
        name = " ".join(name.split())
        with self.editing() as draft:
            image = draft.image(digest)
            if not name:
                raise DatasetError(f"The new name of '{image.name}' is empty; enter at least one character.")
            for other in draft.content.images.values():
                if other.digest != digest and name_key(other.name) == name_key(name):
                    raise DuplicateNameError(f"The project has an image '{other.name}'; choose another name.")
            before, samples = image.sample, samples_of(image.sample, self._dataset.images)
            if samples:
                image = replace(image, sample=free_name(name, set(self._dataset.images) - {before}))
            image = draft.put(replace(image, name=name))
            for sample in samples:
                renamed = image.sample + sample[len(before) :]
                editing.rename_image(self._dataset, sample, renamed, self._together(draft))
        return image

    def set_training(self, digest: str, training: bool) -> ProjectImage:
        """Add an image to the training set, or remove it; its sample then goes to the history of the dataset."""
        with self.editing() as draft:
            image = draft.image(digest)
            before = image.sample
            removed = () if training else samples_of(before, self._dataset.images)
            if before in removed and self.file_of(replace(image, sample="")) is None:
                # The sample has the only copy of the pixels.
                path, _ = place(self.path, image.name, self._dataset.file("images", before), copy=True)
                image = replace(image, file=path)
            image = draft.put(replace(image, training=training, sample=before if training else ""))
            for sample in removed:
                editing.remove_image(self._dataset, sample, self._together(draft))
        return image

    def set_regions(self, digest: str, regions: Sequence[Box]) -> ProjectImage:
        """Restrict training to boxes (r0, c0, r1, c1) of an image; an empty list means the whole image."""
        with self.editing() as draft:
            image = draft.image(digest)
            height, width = image.hw
            clipped = tuple(
                (max(0, r0), max(0, c0), min(height, r1), min(width, c1)) for r0, c0, r1, c1 in regions
            )
            if any(r1 <= r0 or c1 <= c0 for r0, c0, r1, c1 in clipped):
                raise DatasetError(
                    f"A region has no pixels in '{image.name}' ({width} x {height} px); choose another region."
                )
            return draft.put(replace(image, regions=clipped))

    def set_slide(self, digest: str, slide: str) -> ProjectImage:
        """Set the slide or case of an image, used with the next training sample; "" derives it from the name."""
        with self.editing() as draft:
            return draft.put(replace(draft.image(digest), slide=slide.strip()))

    def set_split(self, slide: str, split: str) -> None:
        """Move all images of a slide or case to a split; see `DatasetFolder.set_split`."""
        self._dataset.set_split(slide, split)

    def set_classes(self, classes: Sequence[ClassInfo]) -> None:
        """Rename, recolour, reorder and add classes, which are identified by their ids.

        Images that are not open get new names of classes when they are opened.

        Raises:
            DatasetError: If an existing class is missing; see `drop_class`.
            ClassListError, DuplicateNameError: If the list is invalid.
        """
        wanted = checked(classes)
        with self.editing() as draft:
            draft.content = with_classes(draft.content, wanted)
            write_classes(self._dataset, wanted)

    def add_classes(self, classes: Sequence[ClassInfo]) -> tuple[ClassInfo, ...]:
        """Add the classes whose names are new, with their colours, and with their numbers where these are free."""
        self.set_classes(extended(self.classes, classes))
        return self.classes

    def drop_class(self, class_id: int, into: int | None = None) -> None:
        """Remove a class from the class list and the training samples; for journals see `remove_class_job`.

        Args:
            class_id: The class.
            into: Id of the class that gets its pixels; None removes its objects.

        Raises:
            UnknownNameError: If there is no such class.
            DatasetError: If both classes are the same.
        """
        with self.editing() as draft:
            draft.content = without_class(draft.content, class_id, into)
            if any(other.id == class_id for other in self._dataset.classes):
                write_classes(self._dataset, self.classes, () if into is None else (into,))
                editing.replace_class(self._dataset, class_id, into, self._together(draft))

    @contextlib.contextmanager
    def editing(self) -> Iterator[Draft]:
        """Lock and read the project, and write the content of the draft when the `with` block ends without an error."""
        with locked(self.path / FILE, LOCK_S):
            self.reload()
            draft = Draft(self._content)
            yield draft
            if draft.content != self._content or not (self.path / FILE).exists():
                encoded = dump(draft.content)
                write_atomically(self.path / FILE, lambda stream: stream.write(encoded))
            self._content = draft.content

    def _together(self, draft: Draft) -> dict[Path, bytes]:
        return {self.path / FILE: dump(draft.content)}  # to be replaced with files of the dataset

    def _read(self) -> ProjectContent:
        content = load(self.path / FILE)
        if content is not None:
            return content
        # Earlier versions allowed two spellings of a class name; the first one is used.
        classes = {info.key: info for info in reversed(self._dataset.classes) if info.id > 0}
        return ProjectContent(self._dataset.name, tuple(reversed(classes.values())))
