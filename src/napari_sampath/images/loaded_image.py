"""Convert arrays to (H, W, 3) uint8 RGB, with a note on the conversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL.Image import Image as PillowImage

from ..arrays import UInt8Array
from ..errors import ImageError, first_line
from ..rasters import check_pixels, from_pillow, turn_back
from ..tiling import SINGLE_TILE_PX
from .scaling import to_uint8

MIN_SIDE_PX = 16
"""Minimum side of an image in pixels; in a smaller image, one feature cell would cover the whole image."""

_ALLOWED = "the shape must be (H, W), (H, W, 3) or (H, W, 4)"
_BLOCK = 2**24
"""Number of values compared at a time, so that checking a large image needs little memory."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """An image ready to be encoded."""

    pixels: UInt8Array
    """(H, W, 3) uint8 RGB, C-contiguous; may share memory with the array it was made from."""
    note: str | None
    """Sentence that describes conversion and tiling; None if there was neither."""
    name: str
    """Name of the file or array, used in messages and names of exported files."""
    mpp: float | None
    """Micrometres per pixel; None if unknown."""
    orientation: int = 1
    """Orientation tag (1..8) by which the stored pixels were turned; see `rasters.read_labels`."""

    def before_turning(self) -> LoadedImage:
        """Return the image as stored, as versions before 0.2 read it."""
        pixels = np.ascontiguousarray(turn_back(self.pixels, self.orientation))
        note = (
            f"'{self.name}' is shown without applying its orientation tag {self.orientation}, because it was annotated "
            "in an earlier version, which ignored the tag."
        )
        return LoadedImage(pixels, note, self.name, self.mpp)


def to_loaded_image(
    array: Any,
    name: str = "image",
    *,
    mpp: float | None = None,
    remarks: tuple[str, ...] = (),
    orientation: int = 1,
) -> LoadedImage:
    """Convert an array to (H, W, 3) uint8.

    A single channel is repeated as grey, an alpha channel is dropped, channels first are moved last, and values of
    types other than uint8 are scaled to 0..255 (see `scaling.to_uint8`). The note describes these steps.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3), (H, W, 4) or channels first; bool, integer or float; numpy, dask
            or any other array-like, or a Pillow image of any mode.
        name: Name of the image, used in messages.
        mpp: Micrometres per pixel, if known.
        remarks: Clauses for the note that describe conversions made by the file reader.
        orientation: Orientation tag that the file reader has applied.

    Raises:
        ImageError: If the array is empty, has 1, 4 or more dimensions, 2 or more than 4 channels, a side shorter
            than 16 px, more pixels than fit in memory, values that are not finite, or a single colour.
    """
    if isinstance(array, PillowImage):
        array, remarks = _from_pillow(array, name, remarks)
    # Check the shape before a lazy array (dask) is computed.
    if shape := tuple(getattr(array, "shape", ())):
        _check_size(shape, name)
    values = _as_numpy(array, name)
    channels_last, channels, conversions = _check_size(values.shape, name)
    if values.ndim == 3 and not channels_last:
        values = np.moveaxis(values, 0, -1)
    clauses = [*remarks, *conversions]
    if channels == 4:
        values = values[..., :3]
    elif channels == 1:
        values = values.reshape(*values.shape[:2], 1)
    scaled, scaling = to_uint8(values, name)
    if scaling:
        clauses.append(scaling)
    _check_content(scaled, name, scaling)
    pixels = np.repeat(scaled, 3, axis=2) if channels == 1 else scaled
    height, width = pixels.shape[:2]
    if max(height, width) > SINGLE_TILE_PX:
        clauses.append(f"its {width} x {height} px (width x height) are encoded tile by tile")
    note = f"'{name}': {'; '.join(clauses)}." if clauses else None
    return LoadedImage(np.ascontiguousarray(pixels), note, name, mpp, orientation)


def _from_pillow(
    image: PillowImage, name: str, remarks: tuple[str, ...]
) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    try:
        check_pixels(image.height, image.width, name)
        raster = from_pillow(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(
            f"'{name}' is a Pillow image of mode {image.mode} that cannot be converted ({first_line(error)}); convert "
            "it to RGB."
        ) from error
    return raster.values, (*remarks, *raster.remarks)


def _as_numpy(array: Any, name: str) -> npt.NDArray[Any]:
    try:
        values = np.asarray(array)
    except MemoryError:
        raise ImageError(f"'{name}' does not fit in memory; crop it or use a lower magnification.") from None
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise ImageError(
            f"'{name}' is not an array of numbers ({first_line(error)}); give one (H, W, 3) array."
        ) from error
    if values.dtype.kind not in "buif":
        raise ImageError(
            f"'{name}' has values of type {values.dtype}; convert it to integers, floats or bool."
        )
    return values


def _check_size(shape: tuple[int, ...], name: str) -> tuple[bool, int, list[str]]:
    """Check a shape and determine its channels.

    Returns:
        True if the channels are last, the number of channels, and clauses for the note.
    """
    text = f"({', '.join(map(str, shape))})"
    if 0 in shape:
        raise ImageError(f"'{name}' is empty (shape {text}); choose an image with pixels.")
    if len(shape) not in (2, 3):
        raise ImageError(
            f"'{name}' has {len(shape)} dimensions (shape {text}); {_ALLOWED}: choose one plane."
        )
    channels_last, channels, clauses = True, 1, ["one channel was repeated as grey"]
    hw = shape[:2]
    if len(shape) == 3:
        channels_last = shape[2] <= 4 or shape[0] > 4
        channels, hw = (shape[2], shape[:2]) if channels_last else (shape[0], shape[1:])
        clauses = {1: clauses, 4: ["the alpha channel was dropped"]}.get(channels, [])
        if channels == 2 or channels > 4:
            raise ImageError(
                f"'{name}' has {channels} channels (shape {text}); {_ALLOWED}: choose one channel or convert it to RGB."
            )
        if not channels_last:
            clauses = [f"{text} was taken as channels first", *clauses]
    height, width = hw
    if min(height, width) < MIN_SIDE_PX:
        raise ImageError(
            f"'{name}' is {width} x {height} px (width x height); the minimum is {MIN_SIDE_PX} x {MIN_SIDE_PX} px: "
            "choose a larger image."
        )
    check_pixels(height, width, name)
    return channels_last, channels, clauses


def _check_content(pixels: UInt8Array, name: str, scaling: str | None) -> None:
    """Raise if every pixel of (H, W, C) uint8 has the same colour."""
    first = pixels[0, 0]
    rows = max(1, _BLOCK // pixels[0].size)
    for top in range(0, len(pixels), rows):
        if (pixels[top : top + rows] != first).any():
            return
    after = f" after scaling ({scaling})" if scaling else ""
    raise ImageError(
        f"Every pixel of '{name}' has the same value, {', '.join(map(str, first.tolist()))}{after}; choose another "
        "image or channel."
    )
