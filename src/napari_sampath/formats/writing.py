"""Export of label maps: indexed PNG and TIFF, and a `classes.json` that says what the numbers mean."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import tifffile
from PIL import Image

from ..errors import ImageError, UnknownNameError
from ..files import Write, write_together
from ..registry import unknown_name
from . import manifest
from .labels import FORMATS, KINDS, check_unique, file_name, used_ids

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..arrays import ClassInfo, IntArray, UInt8Array

_PNG_IDS = 2**16 - 1
"""Largest number a 16-bit PNG holds."""
_TIFF_IDS = 2**31 - 1


def export_labels(
    folder: str | Path,
    name: str,
    class_map: UInt8Array,
    instance_map: IntArray,
    classes: Sequence[ClassInfo],
    formats: Sequence[str] = ("png", "tiff"),
) -> list[Path]:
    """Write the label maps of one image.

    `<name>_classes.png` is indexed, its palette holds the class colours and 0 is transparent;
    `<name>_instances.png` has 16 bits. The TIFF files hold the same numbers (uint8; uint16, or uint32 from 65,536
    on), compressed without loss. `classes.json` is shared by all images of the folder; their entries stay.
    All files become new together, or none does.

    Args:
        folder: Made if missing.
        name: Name of the image; an export of the same name is replaced.
        class_map: (H, W) class ids, 0..255, 0 for none.
        instance_map: (H, W) object numbers, 0 for none.
        classes: All ids in `class_map` but 0, and any others.
        formats: "png", "tiff" or both.

    Returns:
        The files written, `classes.json` last.

    Raises:
        ImageError: If the maps do not fit together, or do not fit in a format.
        DuplicateNameError: If two classes share an id or a name.
        UnknownNameError: If there is no such format.
        StorageError: If a file cannot be written; an earlier export is untouched.
    """
    folder = Path(folder).expanduser()
    wished = list(dict.fromkeys(formats))
    _check_formats(wished)
    labels = _check_maps(class_map, instance_map)
    _check_classes(labels[0], classes)
    highest = int(labels[1].max())
    if "png" in wished and highest > _PNG_IDS:
        raise ImageError(
            f"The instance map of '{name}' has numbers up to {highest}, and PNG holds {_PNG_IDS} at most; export "
            "it as tiff."
        )
    names = {kind: [file_name(name, kind, FORMATS[word]) for word in wished] for kind in KINDS}
    files: dict[Path, Write] = {}
    for word in wished:
        for kind, write in zip(KINDS, _writers(word, *labels, classes), strict=True):
            files[folder / file_name(name, kind, FORMATS[word])] = write
    entries = manifest.load(folder / manifest.MANIFEST)
    entries[name] = manifest.Entry(labels[0].shape, tuple(classes), names)
    content = manifest.dump(entries)
    files[folder / manifest.MANIFEST] = lambda stream: stream.write(content)
    write_together(files)
    return list(files)


def _check_formats(formats: list[str]) -> None:
    for word in formats or [""]:
        if word not in FORMATS:
            raise UnknownNameError(unknown_name("format", word, list(FORMATS)))


def _check_maps(class_map: Any, instance_map: Any) -> tuple[UInt8Array, npt.NDArray[np.unsignedinteger]]:
    maps = np.asarray(class_map), np.asarray(instance_map)
    for kind, values, most in zip(("class", "instance"), maps, (255, _TIFF_IDS), strict=True):
        if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "bui":
            raise ImageError(
                f"The {kind} map has shape {values.shape} and type {values.dtype}; give whole numbers of shape (H, W)."
            )
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > most:
            raise ImageError(
                f"The {kind} map has values from {low} to {high}; allowed are 0 to {most}: renumber them."
            )
    if maps[0].shape != maps[1].shape:
        raise ImageError(
            f"The class map has shape {maps[0].shape} and the instance map {maps[1].shape}; give two of the same "
            "shape."
        )
    wide = np.uint16 if maps[1].max() <= _PNG_IDS else np.uint32
    return maps[0].astype(np.uint8, copy=False), maps[1].astype(wide, copy=False)


def _check_classes(class_map: UInt8Array, classes: Sequence[ClassInfo]) -> None:
    for info in classes:
        if not 0 <= info.id <= 255 or not all(0 <= part <= 255 for part in info.color):
            raise ImageError(
                f"The class '{info.name}' has id {info.id} and colour {info.color}; allowed are 0 to 255: change it."
            )
    check_unique(classes, "The class list")
    known = [info.id for info in classes]
    nameless = [number for number in used_ids(class_map) if number not in known]
    if nameless:
        raise ImageError(
            f"The class map holds the value {nameless[0]}, and no class has this id; known: "
            f"{', '.join(map(str, known)) or 'none'}: add a class with it."
        )


def _writers(
    word: str, class_map: UInt8Array, instance_map: npt.NDArray[Any], classes: Sequence[ClassInfo]
) -> tuple[Write, Write]:
    """Pair the functions that write the two maps in one format."""
    if word == "png":
        coloured = partial(write_palette, values=class_map, classes=classes)
        return coloured, partial(write_png, values=instance_map)
    return partial(_write_tiff, values=class_map), partial(_write_tiff, values=instance_map)


def write_palette(stream: BinaryIO, values: UInt8Array, classes: Sequence[ClassInfo]) -> None:
    """Write class ids (H, W) as an indexed PNG whose palette holds the colours of the classes; 0 is transparent."""
    # All 256 entries, because Pillow packs images with short palettes into 1, 2 or 4 bits, which few others read.
    palette = np.zeros((256, 3), dtype=np.uint8)
    for info in classes:
        if info.id:
            palette[info.id] = info.color
    image = Image.fromarray(values)
    image.putpalette(palette.tobytes())
    image.save(stream, format="PNG", transparency=0)


def write_png(stream: BinaryIO, values: npt.NDArray[Any]) -> None:
    """Write (H, W) bool, uint8 or uint16, or (H, W, 3) uint8 RGB, as PNG."""
    Image.fromarray(values).save(stream, format="PNG")


def _write_tiff(stream: BinaryIO, values: npt.NDArray[Any]) -> None:
    tifffile.imwrite(stream, values, photometric="minisblack", compression="zlib", metadata=None)
