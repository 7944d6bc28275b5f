"""Images and label maps matched by two file name patterns."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from ....errors import DatasetError
from ....formats.format import ValuesAs
from ..dataset import Dataset, Sample
from .file_index import FileIndex
from .grouping import unknown_groups
from .plain import from_samples


def open_pairs(folder: Path, images: str, labels: str, group: str = "", as_: ValuesAs = "auto") -> Dataset:
    """Open the images and label maps that match two patterns, paired by the text that the wildcards match.

    Args:
        folder: Folder that the patterns are relative to.
        images: Pattern such as "*/img_*.png"; `**` matches any number of folders.
        labels: Pattern with the same wildcards.
        group: Regular expression that is searched for in the image path below `folder`; its first group, or else the
            whole match, is the slide or case.
        as_: Whether the values of masks are classes or objects; "auto" decides by their values.

    Raises:
        DatasetError: If no file matches, an image has no label map, or the patterns have different wildcards.
    """
    folder = folder.expanduser()
    if re.findall(r"\*+", images) != re.findall(r"\*+", labels) or "*" not in images:
        raise DatasetError(
            f"The patterns '{images}' and '{labels}' have different wildcards; use the same ones in both, such as "
            "'*/img_*.png' and '*/mask_*.png'."
        )
    expression = _expression(images)
    samples = []
    indexes: dict[Path, FileIndex] = {}
    for path in sorted(folder.glob(images)):
        relative = path.relative_to(folder).as_posix()
        match = expression.fullmatch(relative)
        if match is None or any(part.startswith(".") for part in Path(relative).parts):
            continue
        # Interleave the fixed parts of the label pattern with the text that the wildcards matched.
        fixed, matched = re.split(r"\*\*/|\*", labels), [*match.groups(), ""]
        wanted = folder / "".join(itertools.chain.from_iterable(zip(fixed, matched, strict=True)))
        index = indexes.setdefault(wanted.parent, FileIndex(wanted.parent))
        label_file = index.find([wanted.name])
        if label_file is None:
            raise DatasetError(
                f"The image '{path}' has no label map '{wanted}'; add it, or remove the image."
            )
        name = "-".join(part.strip("/") for part in match.groups() if part) or path.stem
        samples.append(Sample(name, path, label_file, _group(group, relative) or name, ""))
    if not samples:
        raise DatasetError(f"No file in '{folder}' matches '{images}'; check the pattern.")
    note = "" if group else unknown_groups(folder)
    return from_samples(folder, samples, {}, note, as_)


def _expression(pattern: str) -> re.Pattern[str]:
    """Convert a pattern into a regular expression with one group per wildcard."""
    parts = re.split(r"(\*\*/|\*)", pattern)
    wildcards = {"**/": "((?:[^/]+/)*)", "*": "([^/]*)"}
    return re.compile("".join(wildcards.get(part, re.escape(part)) for part in parts))


def _group(pattern: str, path: str) -> str:
    if not pattern:
        return ""
    try:
        match = re.search(pattern, path)
    except re.error as error:
        raise DatasetError(
            f"The group '{pattern}' is not a valid regular expression ({error}); correct it."
        ) from error
    if match is None:
        raise DatasetError(
            f"The group '{pattern}' does not match the path '{path}'; change it to match the slide or case."
        )
    return match.group(1) if match.re.groups else match.group(0)
