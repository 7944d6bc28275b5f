"""`project.json`: the images, classes and notes of a project.

    {"schema": 1, "name": "glands", "notes": "",
     "classes": [{"id": 1, "name": "gland", "color": [0, 158, 115]}],
     "renamed": {"Gland (old)": "gland"},
     "images": {"9f2c...": {"name": "case 7", "file": "/scans/case 7.svs", "relative": "../scans/case 7.svs",
                            "height": 2000, "width": 3000, "mpp": 0.5, "slide": "case 7", "training": true,
                            "regions": [[0, 0, 500, 500]], "sample": "case 7", "added": "2026-04-01T09:30:00+00:00"}}}

The key of an image is the digest of its pixels, which is also the name of its journal, so that an image stays the same
when its file is renamed or moved.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...annotations.model.classes import checked
from ...arrays import ClassInfo
from ...errors import DatasetError, UnknownNameError
from ...files import check_length
from ...files.json_reader import read_json
from ...formats.labels import Box

FILE = "project.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class ProjectImage:
    """One image of a project."""

    digest: str
    """`pixel_digest` of the pixels, which identifies the image and its journal."""
    name: str
    """Unique in the project, ignoring capitals; also the name of exported files."""
    hw: tuple[int, int]
    """Size (H, W) in pixels."""
    file: str = ""
    """Absolute path of the file that is used in place, or a path relative to the project of a copy; "" if the pixels
    are those of the training sample."""
    relative: str = ""
    """Path of a file that is used in place, relative to the project, for projects that move with their images."""
    mpp: float | None = None
    """Micrometres per pixel; None if unknown."""
    slide: str = ""
    """Slide or case; if empty, that of the rule of the dataset, otherwise the image itself."""
    training: bool = True
    """Whether heads are trained on the verified area of this image."""
    regions: tuple[Box, ...] = ()
    """Boxes (r0, c0, r1, c1) to which training is restricted; empty for the whole image."""
    sample: str = ""
    """Name of the training sample in the dataset; "" before the first one is saved."""
    added: str = ""
    """Time at which the image was added, ISO 8601 in UTC."""


@dataclass(frozen=True, slots=True)
class ProjectContent:
    """The content of a `project.json`."""

    name: str
    classes: tuple[ClassInfo, ...] = ()
    """Classes in the order of their number keys."""
    images: Mapping[str, ProjectImage] = field(default_factory=dict)
    """Digest of the pixels -> image."""
    notes: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Former name of a class (`ClassInfo.key`) -> current name, for images that were not open when it was renamed."""

    duplicates: Mapping[str, str] = field(default_factory=dict)
    """Name of a training sample of an earlier version that has the pixels of another sample -> their digest."""

    def with_image(self, image: ProjectImage) -> ProjectContent:
        """Return a copy with a new or changed image."""
        return replace(self, images={**self.images, image.digest: image})

    def without_image(self, digest: str) -> ProjectContent:
        """Return a copy without an image."""
        return replace(self, images={key: image for key, image in self.images.items() if key != digest})


@dataclass(slots=True)
class Draft:
    """The content of a project while it is changed."""

    content: ProjectContent

    def image(self, digest: str) -> ProjectImage:
        """Return the image with a digest.

        Raises:
            UnknownNameError: If it is not in the project.
        """
        if digest not in self.content.images:
            raise UnknownNameError(f"The image is not in the project '{self.content.name}'; add it first.")
        return self.content.images[digest]

    def put(self, image: ProjectImage) -> ProjectImage:
        """Add or replace an image, and return it.

        Raises:
            DatasetError: If its new name is too long.
        """
        present = self.content.images.get(image.digest)
        if present is None or present.name != image.name:
            check_length(image.name, "image", DatasetError)
        self.content = self.content.with_image(image)
        return image

    def rename(self, name: str) -> None:
        """Rename the project.

        Raises:
            DatasetError: If the name is empty or too long.
        """
        if not name:
            raise DatasetError("The name of the project is empty; enter at least one character.")
        check_length(name, "project", DatasetError)
        self.content = replace(self.content, name=name)


def dump(content: ProjectContent) -> bytes:
    """Encode a `project.json`."""
    images = {}
    for digest, image in content.images.items():
        values = {key: value for key, value in asdict(image).items() if key not in ("digest", "hw")}
        images[digest] = {"height": image.hw[0], "width": image.hw[1], **values}
    values = {
        "schema": SCHEMA,
        "name": content.name,
        "notes": content.notes,
        "classes": [asdict(info) for info in content.classes],
        "renamed": dict(content.renamed),
        "duplicates": dict(content.duplicates),
        "images": images,
    }
    return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def load(path: Path) -> ProjectContent | None:
    """Read a `project.json`; None if there is none.

    Raises:
        DatasetError: If it is damaged, or was written by another program or a newer version.
    """
    try:
        values = read_json(path)
        schema = values["schema"]
        if isinstance(schema, int) and schema > SCHEMA:
            raise DatasetError(
                f"'{path}' has schema {schema}, but this version reads up to {SCHEMA}; update napari-sampath."
            )
        return _parse(values)
    except FileNotFoundError:
        return None
    except DatasetError:
        raise
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be opened ({error.strerror}); check the file.") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"'{path}' is damaged or made by another program ({error}); restore it from a backup, or delete it to "
            "open the folder as a dataset."
        ) from error


def _parse(values: dict[str, Any]) -> ProjectContent:
    classes = checked(ClassInfo.from_json(info) for info in values["classes"])
    images = {str(digest): _parse_image(str(digest), image) for digest, image in values["images"].items()}
    renamed = {str(old): str(new) for old, new in values.get("renamed", {}).items()}
    duplicates = {str(sample): str(digest) for sample, digest in values.get("duplicates", {}).items()}
    return ProjectContent(
        str(values["name"]), classes, images, str(values.get("notes", "")), renamed, duplicates
    )


def _parse_image(digest: str, values: dict[str, Any]) -> ProjectImage:
    mpp = values.get("mpp")
    if mpp is not None and not (isinstance(mpp, int | float) and math.isfinite(mpp) and mpp > 0):
        raise ValueError(f"the mpp of an image is {mpp}")
    if not digest.isalnum():
        raise ValueError(f"the digest of an image is '{digest}'")
    name = str(values["name"])
    if not name.strip():
        raise ValueError("an image has no name")
    return ProjectImage(
        digest,
        name,
        (_size(values["height"]), _size(values["width"])),
        str(values.get("file", "")),
        str(values.get("relative", "")),
        None if mpp is None else float(mpp),
        str(values.get("slide", "")),
        values.get("training", True) is True,
        tuple(_box(box) for box in values.get("regions", ())),
        str(values.get("sample", "")),
        str(values.get("added", "")),
    )


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"the size of an image is {value}")
    return value


def _box(values: Any) -> Box:
    r0, c0, r1, c1 = values
    if (
        not all(isinstance(value, int) for value in (r0, c0, r1, c1))
        or r0 < 0
        or c0 < 0
        or r1 <= r0
        or c1 <= c0
    ):
        raise ValueError(f"the region {values} is empty or not a box of whole numbers")
    return r0, c0, r1, c1
