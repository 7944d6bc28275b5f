"""List the images of a folder, without label files, masks and hidden files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ImageError
from ..files import JsonError, read_json

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2")
"""Endings of image files, in lower case."""
SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".zarr")
"""Endings of whole slides; an OME-Zarr is a folder."""

LISTED = "listed in classes.json"
NAMED_AS_LABELS = "named as masks or label maps"
HIDDEN = "hidden"
NOT_FILES = "not regular files"

_EXPORTS = "classes.json"
_LABELS = re.compile(
    r"(?:^|[ _.-])(?:cp[_-])?(?:masks?|labels?|label-?map|labelled|labeled|classes|instances|cp_outlines|cp_output)"
    r"(?:[ _-]?\d{1,3})?$",
    re.IGNORECASE,
)
"""End of a stem that names a label map, independent of the other files in the folder."""
_PERHAPS_LABELS = re.compile(
    r"[ _.-](?:seg|segmentation|simple segmentation|object predictions|probabilities|objects|outlines?|flows|gt|"
    r"ground[ _-]?truth|inst|anno|annotations?|overlay|pred|predictions?)(?:[ _-]?\d{1,3})?$",
    re.IGNORECASE,
)
"""End of a stem that names a label map if the folder has an image named like the start."""
_LABELS_FIRST = re.compile(r"^(?:masks?|labels?|seg|gt)[ _-]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ImageListing:
    """The images of a folder."""

    folder: Path
    paths: tuple[Path, ...]
    """The images, sorted by name."""
    left_out: Mapping[str, tuple[str, ...]]
    """Reason -> names of files with the ending of an image that are not in `paths`."""
    doubtful: tuple[str, ...] = ()
    """Names of files that were left out because they are named as label maps, although there is no such image."""

    @property
    def note(self) -> str | None:
        """Sentence that lists the files that were left out and why; None if there are none besides hidden files."""
        reasons = {reason: names for reason, names in self.left_out.items() if reason != HIDDEN}
        if not reasons:
            return None
        count = sum(len(names) for names in reasons.values())
        parts = [f"{len(names)} {reason} ({_some(names)})" for reason, names in reasons.items()]
        files = "file was" if count == 1 else "files were"
        return f"{count} {files} left out: {', '.join(parts)}."

    @property
    def doubt(self) -> str | None:
        """Sentence on `doubtful`; None if there are none."""
        if not self.doubtful:
            return None
        files, them = ("file", "it is an image") if len(self.doubtful) == 1 else ("files", "they are images")
        return (
            f"Left out of '{self.folder.name}': {len(self.doubtful):,} {files} named as label maps of no image "
            f"({_some(self.doubtful)}); rename the {files} if {them}."
        )


def list_images(folder: str | Path, slides: bool = False) -> ImageListing:
    """List the images of a folder, not of its subfolders.

    Hidden files (such as the `._` files of macOS), files that the `classes.json` of an export lists, and files named as
    masks or label maps are left out. The letter case of endings is ignored.

    Args:
        folder: The folder.
        slides: Whether whole slides count as images.

    Raises:
        ImageError: If the folder does not exist or cannot be read.
    """
    folder = Path(folder)
    suffixes = IMAGE_SUFFIXES + (SLIDE_SUFFIXES if slides else ())
    try:
        candidates = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"There is no folder '{folder}'; choose a folder of images.") from None
    except OSError as error:
        raise ImageError(
            f"The folder '{folder}' cannot be read ({error.strerror}); check the folder."
        ) from error
    exported = _exported(folder / _EXPORTS)
    stems = {_stem(path).lower() for path in candidates}
    paths: list[Path] = []
    left_out: dict[str, list[str]] = {}
    for path in candidates:
        reason = _reason(path, exported, stems)
        if reason is None:
            paths.append(path)
        else:
            left_out.setdefault(reason, []).append(path.name)
    named = left_out.get(NAMED_AS_LABELS, [])
    doubtful = tuple(name for name in named if _LABELS.sub("", _stem(Path(name))).lower() not in stems)
    return ImageListing(
        folder, tuple(paths), {reason: tuple(names) for reason, names in left_out.items()}, doubtful
    )


def _reason(path: Path, exported: frozenset[str], stems: set[str]) -> str | None:
    """Return why a file is left out; None if it is an image."""
    stem = _stem(path)
    if path.name.startswith("."):
        return HIDDEN
    if path.suffix.lower() != ".zarr" and not path.is_file():
        return NOT_FILES
    if path.name in exported:
        return LISTED
    if _LABELS.search(stem) or (path.suffix.lower() == ".zarr" and stem.lower().endswith("_objects")):
        return NAMED_AS_LABELS
    for pattern in (_PERHAPS_LABELS, _LABELS_FIRST):
        match = pattern.search(stem)
        if match and (stem[: match.start()] + stem[match.end() :]).lower() in stems:
            return NAMED_AS_LABELS
    return None


def _stem(path: Path) -> str:
    stem = path.stem
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def _exported(file: Path) -> frozenset[str]:
    """Return the names of the files that a `classes.json` lists; none if it is missing or damaged."""
    try:
        images = read_json(file)["images"].values()
        return frozenset(_names(entry["files"].values() for entry in images))
    except (JsonError, OSError, LookupError, TypeError, AttributeError):
        return frozenset()


def _names(groups: Iterable[Any]) -> Iterable[str]:
    """Yield all texts in nested lists."""
    for group in groups:
        if isinstance(group, str):
            yield group
        else:
            yield from _names(group)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
