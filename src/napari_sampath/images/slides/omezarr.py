"""Slides in OME-Zarr images (NGFF 0.4 and 0.5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import ImageError
from .array_levels import ArraySlide
from .scale import plausible

_UM = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3}
"""Unit of an axis -> micrometres."""


def is_omezarr_image(path: Path) -> bool:
    """Return True if a folder holds the metadata of a Zarr group."""
    return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))


class OmeZarrSlide(ArraySlide):
    """The first multiscale image of an OME-Zarr folder.

    Args:
        path: The folder.

    Raises:
        ImageError: If the folder is no OME-Zarr image, a plate, a stack, or not 8-bit grey or RGB.
    """

    def __init__(self, path: Path) -> None:
        import zarr  # Slow to import.

        try:
            group = zarr.open_group(path, mode="r")
            image = _image(path, group)
            multiscale = _multiscales(image)[0]
            axes = [str(axis["name"] if isinstance(axis, dict) else axis) for axis in multiscale["axes"]]
            arrays = [_plane(image[str(dataset["path"])], axes, path) for dataset in multiscale["datasets"]]
            mpp, remarks = _scale(multiscale, axes)
        except ImageError:
            raise
        except Exception as error:
            raise ImageError(
                f"'{path}' is not a readable OME-Zarr image ({_first_line(error)}); give the folder that holds "
                "'multiscales' metadata of version 0.4 or 0.5."
            ) from error
        name = path.name.removesuffix(".zarr").removesuffix(".ome")
        first = axes.index("c") < axes.index("y") if "c" in axes else False
        super().__init__(arrays, name, mpp, f"zarr {zarr.__version__}", path, channel_axis=0 if first else -1)
        self.name = name
        self.remarks = remarks


class _Plane:
    """A zarr array without its axes of length 1, except channel, row and column."""

    def __init__(self, array: Any, kept: list[int]) -> None:
        self._array = array
        self._kept = kept
        self.shape = tuple(array.shape[axis] for axis in kept)
        self.ndim = len(kept)
        self.dtype = array.dtype

    def __getitem__(self, key: Any) -> Any:
        keys: list[Any] = [0] * self._array.ndim
        for axis, item in zip(self._kept, (*key, slice(None))[: self.ndim], strict=True):
            keys[axis] = item
        return self._array[tuple(keys)]


def _image(path: Path, group: Any) -> Any:
    """Return the group of the image: the group itself, or the first image of the bioformats2raw layout."""
    attributes = dict(group.attrs)
    attributes = {**attributes, **dict(attributes.get("ome", {}))}
    if "plate" in attributes or "well" in attributes:
        raise ImageError(f"'{path}' is a plate of many images; give the folder of one image in it.")
    if "multiscales" not in attributes and "0" in group:
        return group["0"]
    return group


def _multiscales(group: Any) -> list[Any]:
    attributes = dict(group.attrs)
    found: list[Any] = attributes.get("ome", attributes)["multiscales"]
    return found


def _plane(array: Any, axes: list[str], path: Path) -> _Plane:
    if len(axes) != array.ndim:
        raise ValueError(f"{len(axes)} axes are named for {array.ndim} dimensions")
    lengths = dict(zip(axes, array.shape, strict=True))
    stacked = {name: length for name, length in lengths.items() if name not in "cyx" and length > 1}
    if stacked or not {"y", "x"} <= set(lengths):
        text = ", ".join(f"{name} of {length}" for name, length in lengths.items())
        raise ImageError(f"'{path}' is a stack (axes {text}); save a single grey or RGB plane.")
    kept = [number for number, name in enumerate(axes) if name in ("c", "y", "x")]
    return _Plane(array, kept)


def _scale(multiscale: Any, axes: list[str]) -> tuple[float | None, tuple[str, ...]]:
    """Return the micrometres per pixel of the finest level."""
    units = [str(axis.get("unit")) if isinstance(axis, dict) else "" for axis in multiscale["axes"]]
    scale = [1.0] * len(axes)
    for step in (
        *multiscale["datasets"][0].get("coordinateTransformations", ()),
        *multiscale.get("coordinateTransformations", ()),
    ):
        if step.get("type") == "scale":
            scale = [value * float(factor) for value, factor in zip(scale, step["scale"], strict=True)]
    numbers = [axes.index("x"), axes.index("y")]
    sides = [scale[number] * _UM[units[number]] for number in numbers if units[number] in _UM]
    return plausible(*sides) if len(sides) == 2 else (None, ())


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
