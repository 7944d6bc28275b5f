"""The image of a viewer's layer, read from its file if the viewer ignored tags of the file, else from its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError
from ..rasters import Raster, read_both
from .loaded_image import LoadedImage, to_loaded_image

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class LayerImage:
    """The image of a layer."""

    image: LoadedImage
    is_shown: bool
    """Whether the layer shows the image; False if its colours, orientation or axes differ."""


def read_layer(
    data: Any, name: str, path: Path | None = None, rgb: bool = False, mpp: float | None = None
) -> LayerImage:
    """Read the image of a layer.

    Viewers ignore the photometric interpretation, the palette and the orientation tag of a file, and show planes of
    colour as a stack. If the layer holds the stored values of its file, the file is read again with `images.read`.

    Args:
        data: The pixels of the layer at full size; any array-like.
        name: Name of the layer.
        path: The file that the layer was opened from, if known.
        rgb: Whether the last axis of `data` is colour.
        mpp: Micrometres per pixel of the layer; None takes those of the file.

    Raises:
        ImageError: If it has more than two axes besides colour, or `to_loaded_image` rejects it.
    """
    shape = tuple(data.shape)
    stored, visible = _read_file(path, shape)
    if stored is not None and visible is not None:
        values = np.asarray(data)
        if not _equal(values, visible.values) and _is_stored(values, stored):
            image = to_loaded_image(
                visible.values,
                name,
                mpp=mpp or visible.mpp,
                remarks=visible.remarks,
                orientation=visible.orientation,
            )
            return LayerImage(image, is_shown=False)
    is_planar = len(shape) == 3 and not rgb and shape[0] == 3 and min(shape[1:]) > 4
    if is_planar and data.dtype == np.uint8:
        return LayerImage(to_loaded_image(data, name, mpp=mpp), is_shown=False)
    axes = len(shape) - rgb
    if axes != 2:
        raise ImageError(
            f"'{name}' has {axes} dimensions besides colour, but an image must have 2; split it into planes "
            "(right-click on the layer, Split Stack), or save it as RGB."
        )
    scale = mpp or (None if visible is None else visible.mpp)
    return LayerImage(to_loaded_image(data, name, mpp=scale), is_shown=True)


def _read_file(path: Path | None, shape: tuple[int, ...]) -> tuple[Raster | None, Raster | None]:
    """Read the file of a layer if its size agrees with the layer's data."""
    if path is None or not path.is_file():
        return None, None
    try:
        return read_both(path, lambda hw: set(hw) <= set(shape))
    except ImageError:
        return None, None  # A file of another program, such as a slide, which only the viewer reads.


def _is_stored(values: npt.NDArray[Any], stored: Raster) -> bool:
    """Return whether a layer holds the values of its file, with the channels first or last."""
    squeezed = values.squeeze()
    if _equal(squeezed, stored.values) or stored.format in ("JPEG", "MPO"):
        return True  # CMYK files are not compared, because only some libraries invert their inks.
    return squeezed.ndim == 3 and _equal(np.moveaxis(squeezed, 0, -1), stored.values)


def _equal(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    return first.shape == second.shape and np.array_equal(first, second)
