"""`dataset.json`: what a dataset folder holds, its classes, and which slides train and which validate.

    {"schema_version": 1, "name": "glands",
     "classes": [{"id": 1, "name": "gland", "color": [0, 158, 115]}],
     "splits": {"slide 7": "train", "slide 9": "val"}, "slide_ends_before": " region",
     "images": {"slide 7 region 1": {"group": "slide 7", "mpp": 0.5, "height": 1000, "width": 1200,
                                     "instances": true, "revision": 2, "saved": "2025-04-01T09:30:00+00:00"}}}

Splits name slides or cases, never images, so that no slide can be in two of them. An image's slide is said when it is
saved, or is what its name begins with, up to "slide_ends_before".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...arrays import ClassInfo
from ...errors import DatasetError

MANIFEST = "dataset.json"
SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test")
VALIDATION_SHARE = 0.2
"""Share of the images whose slides validate, where nobody chose."""


@dataclass(frozen=True, slots=True)
class DatasetImage:
    """What `dataset.json` says of one image."""

    name: str
    hw: tuple[int, int]
    """Size (H, W)."""
    group: str
    """Slide or case; empty where it is not known, the image then counts as a slide of its own."""
    mpp: float | None
    """Micrometres per pixel; None where it is not known."""
    instances: bool
    """True if object numbers were saved beside the classes."""
    revision: int
    """1 at the first save, one more at each that changed something."""
    saved: str
    """When, ISO 8601 in UTC."""

    @property
    def slide(self) -> str:
        """The group, or the image's own name where it is not known."""
        return self.group or self.name


@dataclass(frozen=True, slots=True)
class Manifest:
    """Content of a `dataset.json`."""

    name: str
    classes: tuple[ClassInfo, ...]
    images: Mapping[str, DatasetImage] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    """Slide or case -> "train", "val" or "test"."""
    slide_ends_before: str = ""
    """Text in an image's name before which the name of its slide ends; empty if names tell of no slide."""

    def slide_in(self, name: str) -> str:
        """Return the slide or case that an image's name tells of; "" if it tells of none."""
        return slide_in(name, self.slide_ends_before)

    def split_for(self, slide: str) -> str:
        """Choose the split of a slide: its own, else validation while that holds under a fifth of the images.

        The first slide trains. A slide keeps its split for ever, so that what validates stays unseen.
        """
        known = self.splits.get(slide)
        if known is not None:
            return known
        if not self.images:
            return "train"
        validating = sum(self.splits.get(image.slide) == "val" for image in self.images.values())
        return "val" if validating < VALIDATION_SHARE * len(self.images) else "train"

    def with_image(self, image: DatasetImage) -> Manifest:
        """Return this with one more image, or another revision of one that is there.

        An image keeps its split under another slide's name: what was learnt from must not validate.
        """
        before = self.images.get(image.name)
        split = None if before is None else self.splits.get(before.slide)
        splits = {image.slide: split or self.split_for(image.slide), **self.splits}
        return replace(self, images={**self.images, image.name: image}, splits=splits)

    def with_slides(self, ends_before: str) -> Manifest:
        """Return this with the slides that names tell of by another text; see `DatasetFolder.find_slides`."""
        after = replace(self, slide_ends_before=ends_before)
        images, splits = {}, dict(self.splits)
        found: dict[str, set[str]] = {}
        for name, image in self.images.items():
            split = self.split_for(image.slide)
            if image.group in ("", self.slide_in(name)):
                image = replace(image, group=after.slide_in(name))
            found.setdefault(image.slide, set()).add(split)
            images[name] = image
        for slide, olds in found.items():
            splits[slide] = next((one for one in ("train", "val") if one in olds), "test")
        return replace(after, images=images, splits=splits)


def slide_in(name: str, ends_before: str) -> str:
    """Return what an image's name begins with, up to a text; "" if the text is empty or not in it."""
    start, found, _ = name.partition(ends_before) if ends_before else ("", "", "")
    return start.strip() if found else ""


def dump(manifest: Manifest) -> bytes:
    """Write the content of `dataset.json`."""
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
        DatasetError: If it is missing, damaged, of another program, or of a newer version.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
        version = content["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise DatasetError(
                f"'{path}' has schema version {version}, this program knows up to {SCHEMA_VERSION}; update "
                "napari-sampath."
            )
        return _parse(content)
    except DatasetError:
        raise
    except FileNotFoundError:
        raise DatasetError(
            f"There is no '{path}'; name the folder of a dataset, or make a new one."
        ) from None
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be opened ({error.strerror}); check the file.") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(f"'{path}' is damaged or of another program ({error}); restore it.") from error


def _parse(content: dict[str, Any]) -> Manifest:
    splits = {str(slide): str(split) for slide, split in content["splits"].items()}
    for split in splits.values():
        check_split(split)
    images = {str(name): _parse_image(str(name), values) for name, values in content["images"].items()}
    ends_before = str(content.get("slide_ends_before", ""))
    return Manifest(str(content["name"]), parse_classes(content["classes"]), images, splits, ends_before)


def parse_classes(entries: list[dict[str, Any]]) -> tuple[ClassInfo, ...]:
    """Read classes from JSON: a list of {"id", "name", "color": [red, green, blue]}.

    Raises:
        ValueError, LookupError, TypeError: If it is something else.
    """
    classes = []
    for entry in entries:
        red, green, blue = (int(part) for part in entry["color"])
        classes.append(ClassInfo(int(entry["id"]), str(entry["name"]), (red, green, blue)))
    return tuple(classes)


def _parse_image(name: str, values: dict[str, Any]) -> DatasetImage:
    return DatasetImage(
        name=name,
        hw=(int(values["height"]), int(values["width"])),
        group=str(values["group"]),
        mpp=check_mpp(values["mpp"]),
        instances=bool(values["instances"]),
        revision=int(values["revision"]),
        saved=str(values["saved"]),
    )


def check_split(split: str) -> str:
    """Return the name of a split if it is one.

    Raises:
        DatasetError: If it is not.
    """
    if split not in SPLITS:
        raise DatasetError(f"There is no split '{split}'; allowed are {', '.join(SPLITS)}.")
    return split


def check_mpp(mpp: float | None) -> float | None:
    """Return micrometres per pixel if they are a positive number, or None.

    Raises:
        DatasetError: If they are something else.
    """
    if mpp is not None and not (math.isfinite(mpp) and mpp > 0):
        raise DatasetError(
            f"mpp is {mpp}; give micrometres per pixel above 0, or None where it is not known."
        )
    return None if mpp is None else float(mpp)
