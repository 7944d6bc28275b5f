"""Images and label maps found by two patterns of file names."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from ....errors import DatasetError
from ..dataset import Dataset, Sample
from .classes import find_classes
from .plain import unknown_groups
from .splits import with_splits


def open_pairs(folder: Path, images: str, labels: str, group: str = "") -> Dataset:
    """Open images and label maps whose names differ only outside of the wildcards.

    Args:
        folder: Where the patterns start.
        images: Such as "*/img_*.png"; `**` crosses folders.
        labels: With as many wildcards, such as "*/mask_*.png".
        group: Regular expression found in the image's path below `folder`; what its first bracket matches is the
            slide or case.

    Raises:
        DatasetError: If nothing matches, an image has no label map, or the patterns do not fit together.
    """
    folder = folder.expanduser()
    if re.findall(r"\*+", images) != re.findall(r"\*+", labels) or "*" not in images:
        raise DatasetError(
            f"The patterns '{images}' and '{labels}' have different wildcards; give both the same ones, such as "
            "'*/img_*.png' and '*/mask_*.png'."
        )
    expression = _expression(images)
    samples = []
    for path in sorted(folder.glob(images)):
        place = path.relative_to(folder).as_posix()
        match = expression.fullmatch(place)
        if match is None:
            continue
        parts = [*match.groups(), ""]
        fixed = re.split(r"\*\*/|\*", labels)
        named = folder / "".join(itertools.chain.from_iterable(zip(fixed, parts, strict=True)))
        if not named.is_file():
            raise DatasetError(f"The image '{path}' has no label map '{named}'; add it, or remove the image.")
        name = "-".join(part.strip("/") for part in match.groups() if part) or path.stem
        samples.append(Sample(name, path, named, _group(group, place) or name, ""))
    if not samples:
        raise DatasetError(f"No file in '{folder}' matches '{images}'; check the pattern.")
    classes, values, ignored = find_classes(folder, samples)
    note = "" if group else unknown_groups(folder)
    return Dataset(folder.name, tuple(with_splits(samples)), classes, values, ignored, note=note)


def _expression(pattern: str) -> re.Pattern[str]:
    """Make a regular expression whose brackets are the wildcards."""
    parts = re.split(r"(\*\*/|\*)", pattern)
    kinds = {"**/": "((?:[^/]+/)*)", "*": "([^/]*)"}
    return re.compile("".join(kinds.get(part, re.escape(part)) for part in parts))


def _group(pattern: str, place: str) -> str:
    if not pattern:
        return ""
    try:
        match = re.search(pattern, place)
    except re.error as error:
        raise DatasetError(f"The pattern '{pattern}' of slides or cases cannot be read ({error}).") from error
    if match is None:
        raise DatasetError(f"The pattern '{pattern}' finds no slide or case in '{place}'; change it.")
    return match.group(1) if match.re.groups else match.group(0)
