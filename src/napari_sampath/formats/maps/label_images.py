"""Label maps as images: indexed PNG and TIFF of exports, and images of other programs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ImageError
from ...rasters import Raster, read_raster
from .. import manifest
from ..format import Export, Format, Kept, Output, ReadOptions
from ..labels import DETAILS, KINDS, Labels
from ..source import Source
from . import pixels
from .known_classes import known_classes
from .label_values import to_labels

if TYPE_CHECKING:
    import numpy.typing as npt

_LOSSY = ("JPEG", "JPEG2000", "MPO", "WEBP", "AVIF")
_EXPORT = "export a PNG (8 or 16-bit grey, or indexed) or a TIFF with one whole number per pixel"
_STARTS = (
    b"\x89PNG",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\xff\xd8\xff",
    b"\x93NUMPY",
    b"GIF8",
    b"BM",
    b"RIFF",
    b"\0\0\0\x0cjP",
)
"""First bytes of image files; lossy ones are recognised so that the reader can say why it refuses them."""


def read(source: Source, options: ReadOptions) -> Labels:
    """Read a label image; see `label_values.to_labels`.

    Raises:
        ImageError: If it is not a label image.
    """
    raster = read_raster(source.path, indexed=True)
    values = label_values(raster, source.path)
    known, file = known_classes(source.path)
    labels = to_labels(np.asarray(values), options, source.path, raster.palette, known)
    if known and any(info.name in {item.name for item in known} for info in labels.classes):
        return Labels(
            labels.class_map,
            labels.instance_map,
            labels.classes,
            notes=(*labels.notes, f"The names of the classes were read from {file}."),
        )
    return labels


def is_image(source: Source) -> bool:
    """Return True if a file starts like an image."""
    return not source.is_folder and (not source.head or source.head.startswith(_STARTS))


def label_values(raster: Raster, path: Path) -> npt.NDArray[Any]:
    """Return the values of a label image, (H, W) bool or whole numbers from 0.

    Raises:
        ImageError: If it is not a label image.
    """
    values = raster.values
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if raster.format in _LOSSY:
        raise ImageError(f"'{path}' is a {raster.format} file, which alters label values; {_EXPORT}.")
    if values.ndim != 2:
        colours = values.shape[2] if values.ndim == 3 else f"{values.ndim} dimensions and 0"
        raise ImageError(f"'{path}' has {colours} channels (colours, not labels); {_EXPORT}.")
    if values.dtype.kind not in "bui":
        raise ImageError(f"'{path}' contains values of type {values.dtype}; {_EXPORT}.")
    if values.dtype.kind == "i" and int(values.min(initial=0)) < 0:
        raise ImageError(f"'{path}' contains {values.min()}, but labels must not be negative; renumber them.")
    return values


def _write(export: Export, format_name: str, suffix: str) -> Iterable[Output]:
    labels = export.labels
    both = pixels.writers(format_name, labels.class_map, labels.instance_map, export.highest, labels.classes)
    for kind, write in zip(KINDS, both, strict=True):
        yield Output(export.path(suffix, kind), write, kind=kind)
    if labels.details:
        content = manifest.dump_details(labels.details)
        yield Output(export.path("json", DETAILS), lambda stream: stream.write(content), kind=DETAILS)


_KEEPS: frozenset[Kept] = frozenset(
    {"pixels", "objects", "object numbers", "class numbers", "class names", "colours", "details", "size"}
)
_LOST = "The class names, and in TIFF the colours, are in classes.json beside it."
FORMATS = (
    Format(
        "png",
        "PNG",
        (".png",),
        write=partial(_write, format_name="png", suffix="png"),
        summary="Label images in the class colours, readable by any program.",
        keeps=_KEEPS,
        lost=f"More than 65,535 objects; higher numbers are renumbered. {_LOST}",
    ),
    Format(
        "tiff",
        "TIFF",
        (".tif",),
        write=partial(_write, format_name="tiff", suffix="tif"),
        summary="Label images for programs such as Fiji.",
        keeps=_KEEPS,
        lost=_LOST,
    ),
    Format(
        "image",
        "label image",
        (".png", ".tif", ".tiff", ".bmp", ".gif", ".npy"),
        recognises=is_image,
        read=read,
        summary="One whole number per pixel.",
        lost="Colour images are not label maps.",
        is_fallback=True,
    ),
)
