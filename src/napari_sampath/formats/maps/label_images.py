"""Label maps as images: indexed PNG and TIFF of exports, and images of other programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...rasters import HOW_TO_EXPORT, Raster, lossy_problem, read_labels, read_size
from .. import manifest
from ..conversion.placement import place
from ..format import KEEPS_ALL, Choice, Export, Format, ImportChoiceError, Kept, Output, ReadOptions
from ..labels import DETAILS, KINDS, Labels
from ..source import Source
from . import pixels
from .known_classes import known_classes
from .label_values import to_labels

_PNG = b"\x89PNG"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_STARTS = (
    b"\xff\xd8\xff",
    b"\x93NUMPY",
    b"GIF8",
    b"BM",
    b"RIFF",
    b"\0\0\0\x0cjP",
    *(b"P%d%c" % (kind, space) for kind in range(1, 7) for space in b"\n \t\r"),
)
"""First bytes of image files; lossy ones are recognised so that the error can state the reason."""


def read(source: Source, options: ReadOptions) -> Labels:
    """Read a label image; see `label_values.to_labels`.

    Raises:
        ImageError: If it is not a label image.
    """
    raster = read_map(source.path, options)
    known, file = known_classes(source.path)
    labels = to_labels(raster.values, options, source.path, raster.palette, known)
    names = {item.name for item in known}
    notes = [f"{source.path.name}: {'; '.join(raster.remarks)}."] if raster.remarks else []
    if options.orientation > 1 and raster.orientation == 1:
        notes.append(
            "The image was turned as its orientation tag states; the label map has no such tag and was not turned."
        )
    if any(info.name in names for info in labels.classes):
        notes.append(f"The names of the classes were read from {file}.")
    return replace(labels, notes=(*notes, *labels.notes))


def read_map(path: Path, options: ReadOptions) -> Raster:
    """Read the values of a label image, after comparing its size with that of the image.

    Returns:
        The raster; its values are (H, W), bool or whole numbers from 0.

    Raises:
        ImportChoiceError: If the size is another one, or the compression may have altered the values, and the
            options do not specify what to do.
        ImageError: If it is not a label image.
    """
    size = read_size(path)
    if options.hw is not None and options.orientation > 1 and size == options.hw[::-1]:
        raster = read_labels(path, options.hw, options.orientation, accepts_lossy=True)
    else:
        place(size, options, path)
        raster = read_labels(path, size, accepts_lossy=True)
    if raster.lossy and options.threshold is None:
        middle = (int(raster.values.max(initial=1)) + 1) // 2
        threshold = Choice(f"Threshold {middle}", {"threshold": middle}, f"--threshold {middle}")
        raise ImportChoiceError(lossy_problem(raster, path), HOW_TO_EXPORT, [threshold])
    return raster


def is_image(source: Source) -> bool:
    """Return True if a file starts like an image."""
    return not source.is_folder and source.head.startswith(_STARTS)


def _write(export: Export, format_name: str, suffix: str) -> Iterable[Output]:
    labels = export.labels
    both = pixels.writers(format_name, labels.class_map, labels.instance_map, export.highest, labels.classes)
    for kind, write in zip(KINDS, both, strict=True):
        yield Output(export.path(suffix, kind), write, kind=kind)
    if labels.details:
        content = manifest.dump_details(labels.details)
        yield Output(export.path("json", DETAILS), lambda stream: stream.write(content), kind=DETAILS)


_KEEPS: frozenset[Kept] = KEEPS_ALL
_LOST = "The class names, and in TIFF the colours, are in classes.json beside it."
FORMATS = (
    Format(
        "png",
        "PNG",
        (".png",),
        recognises=lambda source: source.head.startswith(_PNG),
        read=read,
        is_fallback=True,
        write=partial(_write, format_name="png", suffix="png"),
        summary="Label images in the class colours, readable by any program.",
        keeps=_KEEPS,
        lost=f"More than 65,535 objects; higher numbers are renumbered. {_LOST}",
    ),
    Format(
        "tiff",
        "TIFF",
        (".tif", ".tiff"),
        recognises=lambda source: source.head.startswith(_TIFF),
        read=read,
        is_fallback=True,
        write=partial(_write, format_name="tiff", suffix="tif"),
        summary="Label images for programs such as Fiji.",
        keeps=_KEEPS,
        lost=_LOST,
    ),
    Format(
        "image",
        "other label image",
        (".bmp", ".gif", ".pgm", ".npy"),
        recognises=is_image,
        read=read,
        summary="One whole number per pixel.",
        lost="Colour images are not label maps.",
        is_fallback=True,
    ),
)
