"""Slides made of arrays: multiscale layers that other plugins opened, and ordinary images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import UInt8Array
from ...errors import ImageError, first_line
from ...rasters import Scale
from .slide import Box, Slide

logger = logging.getLogger(__name__)


class ArraySlide(Slide):
    """Levels held as arrays: numpy, zarr, dask or anything that is sliced like them.

    Args:
        arrays: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8, or with the channels first, the finest first.
        name: Name of the slide, used in messages.
        scale: Size of a level-0 pixel, or its micrometres; None if unknown.
        reader: Name and version of the reader.
        path: The file, if there is one.
        channel_axis: -1 or 0 for the axis of the channels; found from the shape if left out.

    Raises:
        ImageError: If an array has another shape or type, or the levels are not ordered from fine to coarse.
    """

    def __init__(
        self,
        arrays: Sequence[Any],
        name: str = "image",
        scale: Scale | float | None = None,
        reader: str = "arrays",
        path: Path | None = None,
        channel_axis: int | None = None,
    ) -> None:
        if not arrays:
            raise ImageError(f"'{name}' has no levels; give at least one array.")
        self._arrays = list(arrays)
        shapes = [tuple(int(length) for length in array.shape) for array in self._arrays]
        self._axis = channel_axis if channel_axis is not None else _channel_axis(shapes[0])
        sizes: list[tuple[int, int]] = []
        for shape, array in zip(shapes, self._arrays, strict=True):
            channels = shape[self._axis] if len(shape) == 3 else 1
            if len(shape) not in (2, 3) or 0 in shape or channels not in (1, 3, 4) or array.dtype != np.uint8:
                raise ImageError(
                    f"A level of '{name}' has shape {shape} and type {array.dtype}; give (H, W), (H, W, 3) or "
                    "(H, W, 4) uint8."
                )
            height, width = shape[1:] if len(shape) == 3 and self._axis == 0 else shape[:2]
            sizes.append((height, width))
        if any(coarse[0] > fine[0] or coarse[1] > fine[1] for fine, coarse in pairwise(sizes)):
            raise ImageError(
                f"The levels of '{name}' are not ordered from fine to coarse ({sizes}); sort them by size."
            )
        super().__init__(
            path or Path(name), sizes, scale if isinstance(scale, Scale) else Scale(scale), reader
        )
        if path is None:
            self.name = name
        self._damage_logged = False

    def read_level(self, number: int, box: Box) -> UInt8Array:
        """Read a window of one level; see `Slide.read_level`."""
        array = self._arrays[number]
        r0, c0, r1, c1 = box
        window = np.s_[:, r0:r1, c0:c1] if array.ndim == 3 and self._axis == 0 else np.s_[r0:r1, c0:c1]
        try:
            values = np.asarray(array[window])
        except OSError as error:
            raise ImageError(
                f"'{self.name}' cannot be read any more ({first_line(error)}); check its folder."
            ) from error
        except ImageError:
            raise
        except Exception as error:  # noqa: BLE001 - codecs and lazy arrays raise anything
            self.warn_of_damage(error)
            return np.full((r1 - r0, c1 - c0, 3), 255, np.uint8)
        return as_rgb(values, self._axis)

    def warn_of_damage(self, error: Exception) -> None:
        """Log that a part is damaged, once for each slide."""
        if not self._damage_logged:
            logger.warning("A part of '%s' is damaged and shown white: %s", self.name, error)
            self._damage_logged = True


def as_rgb(values: UInt8Array, channel_axis: int = -1) -> UInt8Array:
    """Convert a window to (h, w, 3): grey is repeated, alpha dropped, channels moved last."""
    if values.ndim == 3 and channel_axis == 0:
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 2:
        values = values[..., None]
    if values.shape[2] == 1:
        return np.repeat(values, 3, axis=2)
    return np.ascontiguousarray(values[..., :3])


def _channel_axis(shape: tuple[int, ...]) -> int:
    return 0 if len(shape) == 3 and shape[0] <= 4 < shape[2] else -1
