"""Open an image file to annotate it: in memory, or as a slide if it is large."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .loaded_image import LoadedImage
from .reader import read

if TYPE_CHECKING:
    from ..arrays import UInt8Array


@contextmanager
def open_image(path: str | Path) -> Iterator[LoadedImage]:
    """Read an image file like `read`; of a large slide, `pixels` is the slide, which is sliced like an array.

    Raises:
        ImageError: As for `read`.
    """
    from .slides import open_large

    slide = open_large(path)
    if slide is None:
        yield read(path)
        return
    with slide:
        yield LoadedImage(cast("UInt8Array", slide), slide.note, slide.name, slide.mpp)
