"""Value types shared by all packages, with shapes, ranges and coordinate order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import PromptError
from .geometry import Frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
FloatArray: TypeAlias = npt.NDArray[np.floating]
IntArray: TypeAlias = npt.NDArray[np.integer]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

_BAND_PX = 2**20
"""Number of elements of a mask that are averaged at a time."""
GRID = 64
"""Side of a feature map of one tile, in cells."""
LOGITS_PX = 256
"""Side of the prompt decoder's low-resolution logits."""
TOKEN_CHANNELS = 256
"""Length of a token of the prompt decoder."""
IMAGE = "image"
"""Name of the map that holds the encoder's input image, (3, S, S), for heads that read pixels."""
DEPTH = "depth"
"""Name of the training map with the depth of each cell in its object, (1, 256, 256), for heads that predict it."""
MAPS = ("embedding", "tokens", IMAGE)
"""Names of all feature maps, see `FeatureMap`."""


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """One feature map that an encoder computes for a tile."""

    name: str
    """"embedding" (SAM neck output), "tokens" (before the neck; or of a pathology encoder), or `IMAGE`."""
    channels: int
    """Channels C of the map, shape (C, 64, 64); the input image has 16 x 16 pixels per cell."""
    encoder: str
    """Name of the encoder that computes it."""


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """The feature maps that a head reads, concatenated in this order."""

    maps: tuple[FeatureMap, ...]

    @property
    def channels(self) -> int:
        """Total channels of all maps."""
        return sum(feature.channels for feature in self.maps)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The features of one tile, computed once by an encoder."""

    maps: Mapping[str, torch.Tensor]
    """Name of the map -> (C, 64, 64) float tensor, on the device of the model."""
    frame: Frame
    """Which pixels of the image the tile covers, and how they map to the encoder's input."""
    encoder: str
    """Name of the encoder."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """The prompts for one object, in image pixels (x, y). `Prompts.make` creates checked ones."""

    points_xy: FloatArray
    """(N, 2) float64, (x, y) in image pixels; N may be 0."""
    labels: IntArray
    """(N,) int64, 1 for a positive and 0 for a negative point."""
    box_xyxy: FloatArray | None = None
    """(4,) float64, (x0, y0, x1, y1) in image pixels with x0 < x1 and y0 < y1."""
    mask_logits: FloatArray | None = None
    """(256, 256) float32 logits in the tile's padded square: a mask prompt or a previous prediction."""
    text: FloatArray | None = None
    """(256,) float32, the prompt that `text_prompt` makes of a text."""

    @classmethod
    def make(
        cls,
        points: Sequence[Sequence[float]] | npt.ArrayLike | None = None,
        labels: Sequence[int] | npt.ArrayLike | None = None,
        box: Sequence[float] | npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        text: npt.ArrayLike | None = None,
    ) -> Prompts:
        """Check and convert prompts.

        Args:
            points: (N, 2) points as (x, y) in image pixels.
            labels: (N,) 1 or 0 for each point; all positive if left out.
            box: (x0, y0, x1, y1) in image pixels; corners in any order.
            mask: (256, 256) or (1, 256, 256) logits.
            text: (256,) prompt of `text_prompt`.

        Raises:
            PromptError: If there is no prompt, or one is malformed.
        """
        xy = np.zeros((0, 2)) if points is None else np.asarray(points, dtype=np.float64)
        if xy.size == 0:
            xy = xy.reshape(0, 2)
        if xy.ndim != 2 or xy.shape[1] != 2:
            raise PromptError(f"Points have shape {xy.shape}; give a list of (x, y) pairs, shape (N, 2).")
        point_labels = np.asarray(np.ones(len(xy)) if labels is None else labels).astype(np.int64)
        if point_labels.shape != (len(xy),):
            raise PromptError(
                f"There are {len(xy)} points and {point_labels.size} labels; give one label for each point."
            )
        if not np.isin(point_labels, (0, 1)).all():
            raise PromptError(
                f"Point labels are {sorted(set(point_labels.tolist()))}; they must be 1 (positive) or 0 (negative)."
            )
        corners = None if box is None else _check_box(box)
        logits = None if mask is None else _check_mask(mask)
        token = None if text is None else _check_text(text)
        if not np.isfinite(xy).all():
            raise PromptError("A point has a coordinate that is not finite; give (x, y) in pixels.")
        if len(xy) == 0 and corners is None and logits is None and token is None:
            raise PromptError("There is no prompt; give at least one point, a box, a mask or a text.")
        return cls(xy, point_labels, corners, logits, token)


def _check_box(box: Sequence[float] | npt.ArrayLike) -> FloatArray:
    values = np.asarray(box, dtype=np.float64).reshape(-1)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise PromptError(f"The box is {values.tolist()}; give four finite numbers: x0, y0, x1, y1.")
    x0, x1 = sorted((values[0], values[2]))
    y0, y1 = sorted((values[1], values[3]))
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise PromptError(f"The box is {x1 - x0:g} x {y1 - y0:g} px; it must be at least 1 px wide and high.")
    return np.array([x0, y0, x1, y1])


def _check_mask(mask: npt.ArrayLike) -> FloatArray:
    logits = np.asarray(mask, dtype=np.float32)
    if logits.shape == (1, LOGITS_PX, LOGITS_PX):
        logits = logits[0]
    if logits.shape != (LOGITS_PX, LOGITS_PX):
        raise PromptError(f"The mask prompt has shape {logits.shape}; it must be (256, 256) logits.")
    if not np.isfinite(logits).all():
        raise PromptError("The mask prompt holds values that are not finite; give finite logits.")
    return logits


def _check_text(text: npt.ArrayLike) -> FloatArray:
    token = np.asarray(text)
    if token.shape != (TOKEN_CHANNELS,) or token.dtype.kind != "f" or not np.isfinite(token).all():
        raise PromptError(
            f"The text prompt has type {token.dtype} and shape {token.shape}; give the result of text_prompt, "
            f"{TOKEN_CHANNELS} finite numbers."
        )
    return token.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Candidate masks at image resolution, in SAM's order."""

    masks: BoolArray
    """(M, H, W) bool, the size of the image window that the features cover."""
    scores: FloatArray
    """(M,) float32, predicted IoU of each candidate."""
    logits: FloatArray
    """(M, 256, 256) float32 low-resolution logits; those of one candidate can be used as a mask prompt."""

    @property
    def best(self) -> int:
        """Index of the candidate with the highest predicted IoU."""
        return int(np.argmax(self.scores))


@dataclass(frozen=True, slots=True, eq=False)
class LocalMask:
    """A mask stored as its bounding box and the pixels inside, so that its memory does not grow with the image."""

    row: int
    """First image row of the bitmap; a multiple of `step`."""
    col: int
    """First image column of the bitmap; a multiple of `step`."""
    bitmap: BoolArray
    """(h, w) bool; shape (0, 0) for an empty mask."""
    step: int = 1
    """Image pixels per side of one element of the bitmap, a power of two; above 1 for large masks of slides. The last
    row and column may reach beyond the image."""

    @property
    def area_px(self) -> int:
        """Number of image pixels in the mask."""
        return int(self.bitmap.sum()) * self.step**2

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the bounding box in an image array."""
        height, width = (side * self.step for side in self.bitmap.shape)
        return slice(self.row, self.row + height), slice(self.col, self.col + width)

    @property
    def inclusive_box(self) -> tuple[int, int, int, int]:
        """First and last pixels (x0, y0, x1, y1), as in SAM; both corners are the first pixel for an empty mask."""
        rows, cols = self.slices
        return cols.start, rows.start, max(cols.start, cols.stop - 1), max(rows.start, rows.stop - 1)

    def window(self, box: tuple[int, int, int, int], step: int = 1) -> BoolArray:
        """Return the part of the mask in a box (r0, c0, r1, c1) of the image, at any step.

        Where the step is coarser than that of the mask, an element is True if at least half of it is in the mask.

        Returns:
            (ceil((r1 - r0) / step), ceil((c1 - c0) / step)) bool; False outside of the mask.
        """
        if step > self.step:
            return self._coarser(box, step)
        # Pick the element of the mask under the first pixel of each element of the result
        rows = (np.arange(box[0], box[2], step) - self.row) // self.step
        cols = (np.arange(box[1], box[3], step) - self.col) // self.step
        result = np.zeros((len(rows), len(cols)), dtype=np.bool_)
        inside_rows = np.flatnonzero((rows >= 0) & (rows < self.bitmap.shape[0]))
        inside_cols = np.flatnonzero((cols >= 0) & (cols < self.bitmap.shape[1]))
        if inside_rows.size and inside_cols.size:
            target = np.s_[inside_rows[0] : inside_rows[-1] + 1, inside_cols[0] : inside_cols[-1] + 1]
            result[target] = self.bitmap[rows[inside_rows][:, None], cols[inside_cols]]
        return result

    def _coarser(self, box: tuple[int, int, int, int], step: int) -> BoolArray:
        height, width = -((box[0] - box[2]) // step), -((box[1] - box[3]) // step)
        result = np.zeros((height, width), dtype=np.bool_)
        # Band by band, which needs little memory
        ratio = step // self.step
        band = max(1, _BAND_PX // max(1, width * ratio**2))
        for top in range(0, height, band):
            count = min(band, height - top)
            r0 = box[0] + top * step
            part = self.window((r0, box[1], r0 + count * step, box[1] + width * step), self.step)
            result[top : top + count] = halves(part, ratio)
        return result

    @classmethod
    def from_dense(cls, mask: BoolArray, row: int = 0, col: int = 0, step: int = 1) -> LocalMask:
        """Crop a bool array (H, W) whose first pixel lies at (row, col) of the image to its bounding box."""
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size == 0:
            return cls(row, col, np.zeros((0, 0), dtype=np.bool_), step)
        r0, r1, c0, c1 = int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1
        return cls(row + r0 * step, col + c0 * step, np.ascontiguousarray(mask[r0:r1, c0:c1]), step)

    def to_dense(self, hw: tuple[int, int]) -> BoolArray:
        """Paint the mask into a bool array of an image's size (H, W), without the parts outside."""
        dense = np.zeros(hw, dtype=np.bool_)
        rows, cols = self.slices
        target = dense[rows, cols]
        fine = self.bitmap if self.step == 1 else self.bitmap.repeat(self.step, 0).repeat(self.step, 1)
        target |= fine[: target.shape[0], : target.shape[1]]
        return dense


def halves(mask: BoolArray, step: int) -> BoolArray:
    """Return which elements of step x step pixels of a mask (h, w) are at least half True.

    Elements at the edge that are not complete repeat the last pixels.
    """
    if step == 1:
        return mask
    missing = [(0, -side % step) for side in mask.shape]
    padded = np.pad(mask, missing, mode="edge") if any(map(any, missing)) else mask
    height, width = padded.shape
    share = padded.reshape(height // step, step, width // step, step).mean(axis=(1, 3))
    result: BoolArray = share >= 0.5
    return result


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """One class of pixels and objects."""

    id: int
    """Value in label maps, 1..255; 0 is "no class"."""
    name: str
    """Shown to the user, unique within a list."""
    color: tuple[int, int, int]
    """(red, green, blue), each 0..255."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ClassInfo:
        """Create a class from {"id", "name", "color": [red, green, blue]}.

        Raises:
            ValueError, LookupError, TypeError: If the values are malformed.
        """
        red, green, blue = (int(part) for part in values["color"])
        return cls(int(values["id"]), str(values["name"]), (red, green, blue))

    @property
    def key(self) -> str:
        """The name by which classes are compared; see `class_key`."""
        return class_key(self.name)


def class_key(name: str) -> str:
    """Normalise a class name for comparison: ignore capitals and the width of white space."""
    return " ".join(name.split()).casefold()
