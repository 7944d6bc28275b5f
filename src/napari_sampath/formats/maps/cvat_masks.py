"""CVAT segmentation masks 1.1: colour images, and `labelmap.txt` with the colour of each class.

https://docs.cvat.ai/docs/dataset_management/formats/format-smask/. The layout is that of PASCAL VOC:
`SegmentationClass` has the class of each pixel as a colour, `SegmentationObject` a colour for each object. A line of
`labelmap.txt` is `name:red,green,blue:parts:actions`.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ImageError, refuse
from ...files.messages import plural
from ...rasters import read_raster
from ..class_numbers import FileClass, add_to_table
from ..foreign import Color, choose_image, other_name
from ..format import Format, ReadOptions
from ..labels import Labels
from ..source import Source

if TYPE_CHECKING:
    from ...arrays import IntArray, UInt8Array

_LABEL_MAP = "labelmap.txt"
_ENTRY = re.compile(r"(.*):\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*(?::.*)?")
"""A line of the label map; the name of a class may contain colons."""
_CLASSES, _OBJECTS = "SegmentationClass", "SegmentationObject"
_BACKGROUND = (0, 0, 0)
_MAX_TEXT_BYTES = 2**20
_MAX_IMAGE_BYTES = 2**28


def recognises(source: Source) -> bool:
    """Return True for `labelmap.txt`, the folder or zip with it, or an image in `SegmentationClass` beside it."""
    path = source.path
    if source.members:
        return _LABEL_MAP in source.members
    if path.is_dir():
        return (path / _LABEL_MAP).is_file()
    return path.name == _LABEL_MAP or (
        path.parent.name in (_CLASSES, _OBJECTS) and (path.parent.parent / _LABEL_MAP).is_file()
    )


def read(source: Source, options: ReadOptions) -> Labels:
    """Decode the class map and the object map of one image.

    Raises:
        ImageError: If a file is missing, damaged or of another size, or has a colour that no class has.
        UnknownNameError: If there is no image of that name.
    """
    if source.members:
        return _read_zip(source, options)
    root = source.path if source.is_folder else source.path.parent
    if root.name in (_CLASSES, _OBJECTS):
        root, name = root.parent, source.path.stem
    else:
        files = (root / _CLASSES).rglob("*.png")
        names = sorted(
            file.relative_to(root / _CLASSES).with_suffix("").as_posix()
            for file in files
            if not file.name.startswith("._")
        )
        name = _choose(names, options, source)
    classes, objects = root / _CLASSES / f"{name}.png", root / _OBJECTS / f"{name}.png"
    label_map = root / _LABEL_MAP
    text = Source(label_map).content
    labels = _to_labels(text, classes, objects if objects.is_file() else None, label_map)
    return _with_remark(labels, name, options)


def _read_zip(source: Source, options: ReadOptions) -> Labels:
    prefix = f"{_CLASSES}/"
    # CVAT keeps the folders of images.
    names = [member.removeprefix(prefix) for member in source.members if member.startswith(prefix)]
    names = [name.removesuffix(".png") for name in names if name.endswith(".png")]
    name = _choose(sorted(names), options, source)
    files: dict[str, Path] = {}
    try:
        for folder in (_CLASSES, _OBJECTS):
            member = f"{folder}/{name}.png"
            if member in source.members:
                # The name of the file is our own, so that no name in the archive can lead out of the folder.
                descriptor, file = tempfile.mkstemp(".png")
                files[member] = Path(file)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(source.read_member(member, _MAX_IMAGE_BYTES))
        text = source.read_member(_LABEL_MAP, _MAX_TEXT_BYTES)
        class_file, *others = files.values()
        labels = _to_labels(text, class_file, others[0] if others else None, source.path)
        return _with_remark(labels, name, options)
    except ImageError as error:
        message = str(error)
        for member, temporary in files.items():
            message = message.replace(str(temporary), f"{source.path}/{member}")
        raise ImageError(message) from error
    finally:
        for temporary in files.values():
            temporary.unlink()


def _with_remark(labels: Labels, name: str, options: ReadOptions) -> Labels:
    remark = other_name(name, options.image_name)
    return replace(labels, notes=(remark, *labels.notes)) if remark else labels


def _choose(names: list[str], options: ReadOptions, source: Source) -> str:
    if not names:
        refuse(source.path, f"has no PNG files in '{_CLASSES}' beside {_LABEL_MAP}", "export it again")
    return names[choose_image(names, options.image_name, source.path)]


def _to_labels(label_map: bytes, class_file: Path, object_file: Path | None, shown: Path) -> Labels:
    """Convert the colours of one image; `shown` is the path in error messages."""
    colors = _read_label_map(label_map, shown)
    packed = _read_colors(class_file, None, shown)
    listed = [FileClass(label, color=color) for label, color in colors.items() if color != _BACKGROUND]
    classes = add_to_table((), listed).classes
    by_color: dict[Color, str] = {}
    for label, color in colors.items():
        if by_color.setdefault(color, label) != label:
            refuse(
                shown,
                f"has the colour {','.join(map(str, color))} for the classes '{by_color[color]}' and '{label}' in "
                f"{_LABEL_MAP}",
                "give each class its own colour in CVAT and export it again",
            )
    values, inverse = np.unique(packed, return_inverse=True)
    ids = {_pack(info.color): info.id for info in classes} | {_pack(_BACKGROUND): 0}
    unknown = [int(value) for value in values if int(value) not in ids]
    if unknown:
        text = ", ".join(f"{value >> 16},{value >> 8 & 255},{value & 255}" for value in unknown[:3])
        refuse(
            class_file,
            f"has {plural(len(unknown), 'colour')} that {_LABEL_MAP} does not list ({text})",
            "export the masks as PNG, unsmoothed and with their own label map",
        )
    lookup = np.array([ids[int(value)] for value in values], dtype=np.uint8)
    class_map = lookup[inverse.reshape(packed.shape)]
    objects: IntArray = np.zeros(packed.shape, dtype=np.int32)
    if object_file is not None:
        object_colors = _read_colors(object_file, packed.shape, shown)
        objects = _numbers(object_colors)
    hidden = by_color.get(_BACKGROUND, "background")
    notes = (
        ()
        if "background" in hidden.casefold()
        else (f"The class '{hidden}' has the colour of the background (0,0,0) and was left out.",)
    )
    return Labels(class_map, np.where(class_map > 0, objects, 0).astype(np.int32), classes, notes=notes)


def _read_label_map(content: bytes, shown: Path) -> dict[str, Color]:
    """Read the colour of each class."""
    colors: dict[str, Color] = {}
    try:
        for line in content[:_MAX_TEXT_BYTES].decode("utf-8-sig").splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            entry = _ENTRY.fullmatch(line)
            if entry is None:
                raise ValueError
            red, green, blue = map(int, entry.group(2, 3, 4))
            if max(red, green, blue) > 255:
                raise ValueError
            colors[entry[1].strip()] = (red, green, blue)
    except ValueError:
        refuse(shown, f"has no readable {_LABEL_MAP} of lines 'name:red,green,blue::'", "export it again")
    return colors


def _read_colors(file: Path, hw: tuple[int, ...] | None, shown: Path) -> IntArray:
    """Read an image as packed colours (H, W), 0 to 0xFFFFFF.

    Raises:
        ImageError: If it is not an RGB or grey image of the expected size.
    """
    values: UInt8Array | Any = read_raster(file).values
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    if values.dtype != np.uint8 or values.ndim != 3 or values.shape[2] not in (3, 4):
        refuse(
            shown, f"has pixels of shape {values.shape} and type {values.dtype}", "export masks of 8-bit RGB"
        )
    if hw is not None and values.shape[:2] != tuple(hw):
        refuse(
            shown,
            f"has {values.shape[1]} x {values.shape[0]} px (width x height), and {hw[1]} x {hw[0]} px are expected",
            "choose the masks of this image",
        )
    channels = values.astype(np.int32)
    packed: IntArray = channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]
    return packed


def _numbers(packed: IntArray) -> IntArray:
    """Convert colours of the palette of PASCAL VOC (H, W) to their numbers.

    The palette distributes the bits of a number over the three channels, the lowest ones to the highest bits of red,
    green and blue; each colour has a number.
    """
    colors, inverse = np.unique(packed, return_inverse=True)
    numbers = np.zeros_like(colors)
    for bit in range(8):
        for channel, shift in enumerate((16, 8, 0)):
            numbers |= (colors >> (shift + 7 - bit) & 1) << (3 * bit + channel)
    result: IntArray = numbers[inverse.reshape(packed.shape)]
    return result


def _pack(color: Color) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


FORMATS = (
    Format(
        "cvat-masks",
        "CVAT segmentation masks",
        ("/", ".zip", ".txt", ".png"),
        recognises,
        read,
        summary="Colour images of CVAT, with a label map of their colours.",
        lost="Parts and actions of classes.",
    ),
)
