"""Slides in OME-Zarr images (NGFF 0.4 and 0.5).

Metadata and pixels are read by `rasters.zarr_arrays`, which refuses unknown codecs, links and chunks that expand beyond
their size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import UInt8Array
from ...errors import ImageError, refuse
from ...rasters import Scale
from ...rasters.pixel_size import scale_of, unit_um_of
from ...rasters.zarr_arrays import ArrayInfo, DamagedChunkError, Node, ZarrArray, array_info
from .array_levels import ArraySlide
from .slide import Box

_CACHE_BYTES = 2**24
"""Size of the decoded chunks of a level that are kept."""
_ADVICE = "give the folder that holds 'multiscales' metadata of version 0.4 or 0.5"


class OmeZarrSlide(ArraySlide):
    """The first multiscale image of an OME-Zarr folder.

    Args:
        path: The folder.

    Raises:
        ImageError: If the folder is not an OME-Zarr image, a plate, a stack, not 8-bit grey or RGB, or uses a codec
            that is not supported.
    """

    def __init__(self, path: Path) -> None:
        image, multiscale = _image(path)
        try:
            axes = [str(axis["name"] if isinstance(axis, dict) else axis) for axis in multiscale["axes"]]
            datasets = [
                (str(dataset["path"]), _scale(multiscale, dataset, axes))
                for dataset in multiscale["datasets"]
            ]
        except (LookupError, TypeError, ValueError, AttributeError):
            refuse(path, "has damaged 'multiscales' metadata", _ADVICE)
        name = path.name.removesuffix(".zarr").removesuffix(".ome")
        levels = [(_level(image, place, axes, self.warn_of_damage), scale) for place, scale in datasets]
        # Some programs list the levels from coarse to fine.
        levels.sort(key=lambda level: -math.prod(level[0].shape))
        scale = levels[0][1] if levels else None
        super().__init__(
            [level for level, _ in levels],
            name,
            scale,
            "zarr",
            path,
            channel_axis=0 if _is_first(axes) else -1,
        )
        self.name = name

    def read_level(self, number: int, box: Box) -> UInt8Array:
        """Read a window of one level; see `Slide.read_level`."""
        if not self.path.exists():  # Without the folder, every chunk would be empty.
            raise ImageError(f"'{self.path}' cannot be read any more (it is gone); check the disk.")
        return super().read_level(number, box)


class _Level(ZarrArray):
    """One level, whose damaged chunks are white."""

    def __init__(self, info: ArrayInfo, axes: tuple[int, ...], warn: Callable[[Exception], None]) -> None:
        super().__init__(info, axes, _CACHE_BYTES)
        self._warn = warn

    def read_chunk(self, cell: tuple[int, ...]) -> Any:
        """Return the values of a chunk; None if it is not stored."""
        try:
            return super().read_chunk(cell)
        except DamagedChunkError as error:
            self._warn(error)
            return np.full(self.chunk_shape, 255, np.uint8)


def _image(path: Path) -> tuple[Node, dict[str, Any]]:
    """Return a group with an image, and its first multiscale: the folder, or `0` as bioformats2raw writes it."""
    node = Node.open(path)
    for group in (node, node and node.child("0")):
        if group is None:
            continue
        attributes = dict(group.attributes)
        ome = attributes.get("ome")
        attributes |= ome if isinstance(ome, dict) else {}
        if "plate" in attributes or "well" in attributes:
            refuse(path, "is a plate of many images", "give the folder of one image in it")
        multiscales = attributes.get("multiscales")
        if isinstance(multiscales, list) and multiscales and isinstance(multiscales[0], dict):
            return group, multiscales[0]
    refuse(path, "is not an OME-Zarr image", _ADVICE)


def _level(image: Node, place: str, axes: list[str], warn: Callable[[Exception], None]) -> _Level:
    node = image.child(place)
    if node is None:
        refuse(image.folder, f"lacks the level '{place[:80]}'", "copy the slide again")
    info = array_info(node)
    if len(axes) != len(info.shape):
        refuse(image.folder, f"names {len(axes)} axes for {len(info.shape)} dimensions", _ADVICE)
    lengths = dict(zip(axes, info.shape, strict=True))
    stacked = any(length > 1 for name, length in lengths.items() if name not in ("c", "y", "x"))
    if stacked or not {"y", "x"} <= set(lengths):
        text = ", ".join(f"{name} of {length}" for name, length in lengths.items())
        refuse(image.folder, f"is a stack (axes {text})", "save a single grey or RGB plane")
    names = [name for name in ("c", "y", "x") if name in axes]
    names.sort(key=lambda name: name == "c" and not _is_first(axes))
    return _Level(info, tuple(axes.index(name) for name in names), warn)


def _is_first(axes: list[str]) -> bool:
    """Return True if the channels are stored before the rows."""
    return "c" in axes and axes.index("c") < axes.index("y")


def _scale(multiscale: dict[str, Any], dataset: dict[str, Any], axes: list[str]) -> Scale:
    """Return the size of a pixel of a level."""
    units = [
        unit_um_of(str(axis.get("unit"))) if isinstance(axis, dict) else None for axis in multiscale["axes"]
    ]
    steps = [*dataset.get("coordinateTransformations", ())]
    factors = [1.0] * len(axes)
    for step in (*steps, *multiscale.get("coordinateTransformations", ())):
        if step.get("type") == "scale":
            factors = [value * float(factor) for value, factor in zip(factors, step["scale"], strict=True)]
    x, y = axes.index("x"), axes.index("y")
    x_um, y_um = units[x], units[y]
    if x_um is None or y_um is None:
        return Scale()
    return scale_of((factors[x] * x_um, factors[y] * y_um), "OME-Zarr")
