"""Open an image file to annotate it: in memory, or as a slide if it is large."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..errors import ImageError
from .loaded_image import LoadedImage, to_loaded_image
from .reader import read

if TYPE_CHECKING:
    from ..arrays import UInt8Array


@contextmanager
def open_image(path: str | Path) -> Iterator[LoadedImage]:
    """Read an image file or a small slide; of a large slide, `pixels` is the slide, which is sliced like an array.

    Raises:
        ImageError: As for `read`.
    """
    from .slides import is_slide, open_large, open_slide

    slide = open_large(path)
    if slide is not None:
        with slide:
            yield LoadedImage(cast("UInt8Array", slide), slide.note, slide.name, slide.mpp)
        return
    try:
        image = read(path)
    except ImageError:
        # Only the readers of slides read OME-Zarr, DICOM and the formats of vendors.
        if not is_slide(path):
            raise
        with open_slide(path) as small:
            image = to_loaded_image(small[:], small.name, mpp=small.mpp, remarks=small.remarks)
    yield image
