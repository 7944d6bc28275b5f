"""`dataset.json`: the images and classes of a dataset folder, and the split of each slide.

    {"schema_version": 1, "name": "glands",
     "classes": [{"id": 1, "name": "gland", "color": [0, 158, 115]}],
     "splits": {"slide 7": "train", "slide 9": "val"}, "slide_ends_before": " region",
     "images": {"slide 7 region 1": {"group": "slide 7", "mpp": 0.5, "height": 1000, "width": 1200,
                                     "instances": true, "revision": 2, "saved": "2025-04-01T09:30:00+00:00",
                                     "file": "slide 7 region 1", "digest": "0f3a..."}}}

Slides or cases are assigned to splits, never single images, so that no slide is in two splits. The slide of an image is
given when it is saved, or is the start of its name up to "slide_ends_before".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from ...arrays import ClassInfo
from ...errors import DatasetError
from ...files import from_json, read_json
from ...files.json_reader import Range
from ...files.names import earlier_file_stem

MANIFEST = "dataset.json"
SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test")
VALIDATION_SHARE = 0.2
"""Fraction of images that are assigned to validation by default."""


@dataclass(frozen=True, slots=True)
class DatasetImage:
    """The entry of one image in `dataset.json`."""

    name: str
    hw: tuple[int, int]
    """Size (H, W)."""
    group: str
    """Slide or case; if empty, the image is treated as a slide of its own."""
    mpp: float | None
    """Micrometres per pixel; None if unknown."""
    instances: bool
    """True if an instance map was saved."""
    revision: int
    """1 for the first save, increased by each save that changes the image or its labels."""
    saved: str
    """Time of the last save, ISO 8601 in UTC."""
    file: str = ""
    """Stem of the image's files; empty in datasets of earlier versions."""
    digest: str = ""
    """Hexadecimal digest of its pixels, which finds a renamed image; empty if unknown."""

    @property
    def stem(self) -> str:
        """Stem of the files of the image."""
        return self.file or earlier_file_stem(self.name)

    @property
    def slide(self) -> str:
        """The slide or case; the name of the image if unknown."""
        return self.group or self.name


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a `dataset.json`."""

    name: str
    classes: tuple[ClassInfo, ...]
    images: Mapping[str, DatasetImage] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    """Slide or case -> "train", "val" or "test"."""
    slide_ends_before: str = ""
    """Text in an image name before which the slide name ends; empty if names do not contain the slide."""

    def slide_in(self, name: str) -> str:
        """Return the slide or case in an image name; "" if there is none."""
        return slide_in(name, self.slide_ends_before)

    def split_for(self, slide: str) -> str:
        """Return the split of a slide, which is assigned once, so that validation images are never trained on.

        The first slide is assigned to "train"; a later one to "val" if less than a fifth of the images are in "val".
        """
        if slide in self.splits:
            return self.splits[slide]
        if not self.images:
            return "train"
        validation = sum(self.splits.get(image.slide) == "val" for image in self.images.values())
        return "val" if validation < VALIDATION_SHARE * len(self.images) else "train"

    def with_image(self, image: DatasetImage, earlier_name: str = "") -> Manifest:
        """Return a copy with a new image, or a new revision of an image.

        An image that moves to another slide keeps its split, so that no training image is used for validation.

        Args:
            image: The image.
            earlier_name: Its name before it was renamed.
        """
        before = self.images.get(earlier_name or image.name)
        split = None if before is None else self.splits.get(before.slide)
        splits = {image.slide: split or self.split_for(image.slide), **self.splits}
        images = {
            name: other
            for old, other in self.images.items()
            for name, other in [(image.name, image) if old == earlier_name else (old, other)]
        }
        images[image.name] = image
        if earlier_name and before is not None and all(i.slide != before.slide for i in images.values()):
            del splits[before.slide]  # No image belongs to the earlier slide now.
        return replace(self, images=images, splits=splits)

    def with_slides(self, ends_before: str) -> Manifest:
        """Return a copy with another `slide_ends_before`; see `DatasetFolder.find_slides`."""
        after = replace(self, slide_ends_before=ends_before)
        images, splits = {}, dict(self.splits)
        previous: dict[str, set[str]] = {}
        for name, image in self.images.items():
            split = self.split_for(image.slide)
            if image.group in ("", self.slide_in(name)):
                image = replace(image, group=after.slide_in(name))
            previous.setdefault(image.slide, set()).add(split)
            images[name] = image
        for slide, used in previous.items():
            splits[slide] = next((split for split in SPLITS if split in used), "test")
        return replace(after, images=images, splits=splits)


def slide_in(name: str, ends_before: str) -> str:
    """Return the part of an image name before a text; "" if the text is empty or not in the name."""
    return name.partition(ends_before)[0].strip() if ends_before and ends_before in name else ""


def dump(manifest: Manifest) -> bytes:
    """Encode a `dataset.json`."""
    images = {}
    for name, image in manifest.images.items():
        values = {key: value for key, value in asdict(image).items() if key not in ("name", "hw")}
        images[name] = {"height": image.hw[0], "width": image.hw[1], **values}
    content = {
        "schema_version": SCHEMA_VERSION,
        "name": manifest.name,
        "classes": [asdict(info) for info in manifest.classes],
        "splits": dict(manifest.splits),
        "slide_ends_before": manifest.slide_ends_before,
        "images": images,
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def load(path: Path) -> Manifest:
    """Read a `dataset.json`.

    Raises:
        DatasetError: If it is missing, damaged, or was written by another program or a newer version.
    """
    try:
        content = read_json(path)
        version = content["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise DatasetError(
                f"'{path}' has schema version {version}, this version reads up to {SCHEMA_VERSION}; update "
                "napari-sampath."
            )
        return _parse(content)
    except DatasetError:
        raise
    except FileNotFoundError:
        raise DatasetError(
            f"There is no '{path}'; give the folder of a dataset, or create a dataset."
        ) from None
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be opened ({error.strerror}); check the file.") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"'{path}' is damaged or made by another program ({error}); restore it."
        ) from error


@dataclass(frozen=True, slots=True)
class _StoredImage:
    height: Annotated[int, Range(1, 2**31 - 1)]
    width: Annotated[int, Range(1, 2**31 - 1)]
    group: str
    mpp: float | None
    instances: bool
    revision: Annotated[int, Range(0, 2**31 - 1)]
    saved: str
    file: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class _Stored:
    """The content of the file."""

    name: str
    classes: tuple[ClassInfo, ...]
    splits: dict[str, str]
    images: dict[str, _StoredImage]
    slide_ends_before: str = ""


def _parse(content: Any) -> Manifest:
    stored = from_json(_Stored, content)
    for split in stored.splits.values():
        check_split(split)
    images = {}
    for name, values in stored.images.items():
        if Path(values.file).name != values.file or "\\" in values.file:
            raise ValueError(f"'{values.file}' is not the name of a file")
        images[name] = DatasetImage(
            name,
            (values.height, values.width),
            values.group,
            check_mpp(values.mpp),
            values.instances,
            values.revision,
            values.saved,
            values.file,
            values.digest,
        )
    return Manifest(stored.name, stored.classes, images, stored.splits, stored.slide_ends_before)


def check_split(split: str) -> str:
    """Check the name of a split and return it.

    Raises:
        DatasetError: If there is no such split.
    """
    if split not in SPLITS:
        raise DatasetError(f"There is no split '{split}'; choose one of {', '.join(SPLITS)}.")
    return split


def check_mpp(mpp: float | None) -> float | None:
    """Check that micrometres per pixel are positive or None, and return them.

    Raises:
        DatasetError: If the value is not allowed.
    """
    if mpp is not None and not (math.isfinite(mpp) and mpp > 0):
        raise DatasetError(f"mpp is {mpp}; give micrometres per pixel above 0, or None if unknown.")
    return None if mpp is None else float(mpp)
