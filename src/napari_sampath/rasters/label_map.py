"""Rules for label maps in image files: which values they hold, and which files are refused."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError
from . import orientation as orientation_tag
from .raster import Raster, RasterFile, check_expansion
from .reading import opened, turned

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_LABEL = 2**31 - 1
_MAX_CHANNELS = 4
HOW_TO_EXPORT = "export a PNG (8 or 16-bit grey, or indexed) or a TIFF with one whole number per pixel"


def read_labels(
    path: str | Path, hw: tuple[int, int] | None = None, orientation: int = 1, accepts_lossy: bool = False
) -> Raster:
    """Read a label map with the values that tifffile, scikit-image and napari read.

    * Values are as stored, also where 0 is white. A palette gives indices, or grey values if its colours are grey and
      fewer than 256; black and white give False and True.
    * Three equal channels count as one, and opacity is dropped. Whole numbers stored as floats become int32.
    * The orientation tag of the file is applied. If the file has none and its size is that of the image before the
      image was turned, it is turned like the image.

    Args:
        path: The file.
        hw: Size (H, W) of the image, compared before the pixels are decoded; None for any size.
        orientation: `LoadedImage.orientation` of the image.
        accepts_lossy: Also read a file with lossy compression, to which a threshold is applied.

    Returns:
        The raster; its values are (H, W), bool or whole numbers from 0 to `MAX_LABEL`.

    Raises:
        ImageError: If the file cannot be read, has another size, colours, lossy compression, or values that are
            negative, not whole or above `MAX_LABEL`.
    """
    path = Path(path)
    with opened(path) as file:
        tag = file.orientation
        if hw is None:
            check_expansion(file, os.path.getsize(path), path, is_label_map=True)
        else:
            tag = _matching_orientation(file, hw, orientation, path)
        raster = file.load(True)
    values, remarks = _one_channel(raster, path)
    if raster.lossy and not accepts_lossy:
        raise ImageError(f"{lossy_problem(raster, path)}; {HOW_TO_EXPORT}.")
    if raster.palette is not None:
        values, raster = _from_grey_palette(values, raster)
    values, converted = _whole_numbers(values, path)
    labels = dataclasses.replace(
        raster, values=values, remarks=(*raster.remarks, *remarks, *converted), alpha=False
    )
    return turned(labels, tag)


def lossy_problem(raster: Raster, path: Path) -> str:
    """Return the start of a sentence on a file whose compression is not known to keep the values."""
    # A file does not show whether the values were altered before it was compressed.
    is_always = raster.format in ("JPEG", "MPO")
    problem = "with lossy compression, which alters" if is_always else "whose compression may have altered"
    return f"'{path}' is a {raster.format} file {problem} label values"


def _matching_orientation(file: RasterFile, hw: tuple[int, int], image_tag: int, path: Path) -> int:
    """Return the orientation with which a file has the size of its image."""
    found = orientation_tag.turned_hw(file.hw, file.orientation)
    if found == hw:
        return file.orientation
    if file.orientation == 1 and orientation_tag.turned_hw(file.hw, image_tag) == hw:
        return image_tag
    raise ImageError(
        f"'{path}' is {found[1]} x {found[0]} px, but its image is {hw[1]} x {hw[0]} px (width x height); "
        "make them the same size."
    )


def _one_channel(raster: Raster, path: Path) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Reduce equal channels to one, and drop opacity."""
    values = raster.values
    if values.ndim == 3 and values.shape[0] == 1 and values.shape[2] > _MAX_CHANNELS:
        values = values[0]  # A stack of one plane.
    if values.ndim == 2:
        return values, ()
    if values.ndim != 3 or values.shape[2] > _MAX_CHANNELS:
        raise ImageError(f"'{path}' is a stack of shape {values.shape}, not one plane; {HOW_TO_EXPORT}.")
    channels = values.shape[2]
    colours = values[..., :-1] if raster.alpha and channels in (2, 4) else values
    if colours.shape[2] == 2 or not (colours == colours[..., :1]).all():
        raise ImageError(f"'{path}' has {channels} channels (colours, not labels); {HOW_TO_EXPORT}.")
    labels = colours[..., 0]
    remarks: tuple[str, ...] = () if colours.shape[2] == 1 else ("its equal channels were taken as one",)
    if colours.shape[2] < channels:
        opacity = values[..., -1]
        if (labels == labels.flat[0]).all() and not (opacity == opacity.flat[0]).all():
            raise ImageError(
                f"'{path}' has the same value everywhere and differs only in its opacity; fill the background, then "
                f"{HOW_TO_EXPORT}."
            )
        remarks += ("the alpha channel was dropped",)
    return labels, remarks


def _from_grey_palette(values: npt.NDArray[Any], raster: Raster) -> tuple[npt.NDArray[Any], Raster]:
    """Replace the indices of a short grey palette by its grey values.

    Programs that reduce the size of files convert grey images to such palettes. The palettes of annotation programs
    have colours or all 256 entries, and the indices are the labels.
    """
    palette = raster.palette
    if (
        palette is None
        or raster.colours == 256
        or raster.format == "TIFF"
        or int(values.max(initial=0)) > 255
    ):
        return values, raster
    present = np.unique(values)
    colours = palette[present]
    # Indices beyond the palette are labels without a colour.
    if (colours != colours[:, :1]).any() or int(present[-1]) >= raster.colours:
        return values, raster
    grey = np.zeros(256, dtype=np.uint8)
    grey[present] = colours[:, 0]
    if set(colours[:, 0].tolist()) <= {0, 255}:
        return grey[values] > 0, dataclasses.replace(raster, palette=None)
    remark = "its palette is grey, so its labels are the grey values, not the indices"
    return grey[values], dataclasses.replace(raster, palette=None, remarks=(*raster.remarks, remark))


def _whole_numbers(values: npt.NDArray[Any], path: Path) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Check the values; convert floats to int32."""
    if values.dtype.kind not in "buif":
        raise ImageError(f"'{path}' contains values of type {values.dtype}; {HOW_TO_EXPORT}.")
    if values.dtype.kind == "b" or not values.size:
        return values, ()
    low, high = values.min().item(), values.max().item()
    if values.dtype.kind == "f" and (not np.isfinite([low, high]).all() or (values != np.rint(values)).any()):
        raise ImageError(
            f"'{path}' contains values of type {values.dtype} that are not whole numbers, as in a probability map; "
            f"apply a threshold, then {HOW_TO_EXPORT}."
        )
    if low < 0:
        raise ImageError(f"'{path}' contains {low:g}, but labels must not be negative; renumber them.")
    if high > MAX_LABEL:
        raise ImageError(
            f"'{path}' contains {high:g}, but values must be from 0 to {MAX_LABEL}; renumber them."
        )
    if values.dtype.kind == "f":
        return values.astype(np.int32), (f"its {values.dtype} values were taken as whole numbers",)
    return values, ()
