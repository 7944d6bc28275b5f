"""Paths of journals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ..annotations import pixel_digest
from ..arrays import UInt8Array
from ..config import load_config
from ..files import JsonError, read_json, write_atomically
from ..images.slides import Slide
from ..rasters.pixel_size import MPP_RANGE, positive_number

SUFFIX = ".jsonl"


def journal_path(image: UInt8Array | Slide, folder: Path) -> Path:
    """Return the path of an image's journal; it depends on the pixels only, so renamed images keep their objects.

    Args:
        image: (H, W, 3) uint8, or a slide.
        folder: Folder of the journals, usually `sessions_folder()`.
    """
    return journal_file(pixel_digest(image), folder)


def journal_file(digest: str, folder: Path) -> Path:
    """Return the path of the journal of the image with a pixel digest; see `journal_path`."""
    path = folder / f"{digest[:32]}{SUFFIX}"
    if not path.exists() and folder == load_config().sessions_dir:
        # A journal that is open in an earlier version cannot be moved yet.
        earlier = load_config().earlier_sessions_dir / path.name
        if earlier.is_file():
            return earlier
    return path


def stated_mpp(journal: Path) -> float | None:
    """Return the micrometres per pixel that the user stated for the image of a journal; None without a statement."""
    try:
        mpp = positive_number(str(read_json(_mpp_file(journal))["mpp"]))
    except (OSError, JsonError, KeyError, TypeError):
        return None
    return mpp if mpp is not None and MPP_RANGE[0] <= mpp <= MPP_RANGE[1] else None


def save_stated_mpp(journal: Path, mpp: float) -> None:
    """Save micrometres per pixel that the user states for the image of a journal, beside the journal.

    Raises:
        StorageError: If the file cannot be written.
    """
    write_atomically(_mpp_file(journal), lambda stream: stream.write(json.dumps({"mpp": mpp}).encode()))


def _mpp_file(journal: Path) -> Path:
    return journal.with_suffix(".mpp.json")


def has_annotations(image: UInt8Array | Slide, folder: Path) -> bool:
    """Return whether an image (H, W, 3) uint8 or a slide has a journal with at least one change."""
    try:
        with open(journal_path(image, folder), "rb") as journal:
            return bool(journal.readline()) and bool(journal.readline())
    except OSError:
        return False


def other_journals(path: Path) -> Iterator[str]:
    """Yield a sentence for each further journal of an image, which was moved or written beside the first one."""
    base = path.stem.partition(" (")[0]
    for other in sorted(path.parent.glob(f"{base} (*){SUFFIX}")):
        if other != path:
            yield (
                f"There is another journal of this image, '{other}'; 'sampath export' writes its objects as files that "
                "you can import."
            )
