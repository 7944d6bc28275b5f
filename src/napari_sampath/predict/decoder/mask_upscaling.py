"""Low-resolution logits to image pixels and back, at the cost of the object and not of the image.

Segment Anything enlarges the decoder's logits in two bilinear steps: to the padded square, then, after
cutting the padding off, to the image (`Sam.postprocess_masks`). Both steps are linear and act on rows and
columns separately, so together they are `A_rows @ logits @ A_cols.T` with at most four weights in a row.
That product can be taken for the mask's bounding box alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from ...arrays import LOGITS_PX, BoolArray, FloatArray, IntArray, LocalMask
from ...errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...arrays import Prompts
    from ...geometry import Frame

CHUNK_BYTES = 2**21
"""Logits at image resolution are made in pieces of this size: they stay in the processor's cache."""

_SURE = 1e-3
"""A cell that a painted mask fills counts as 99.9 % sure: logits of +-6.9, the range of SAM's own answers."""


def interpolation_matrix(frame: Frame, axis: int, logits_px: int = LOGITS_PX) -> sparse.csr_array:
    """Return the matrix that takes low-resolution logits to the pixels of a frame along one axis.

    Args:
        frame: The window; only its sizes matter.
        axis: 0 for rows, 1 for columns.
        logits_px: Side of the low-resolution logits.

    Returns:
        (pixels of the frame, logits_px) float32; every row sums to 1 and has at most four entries.
    """
    return _two_steps(logits_px, frame.input_px, frame.input_hw[axis], frame.hw[axis])


@lru_cache(maxsize=64)
def _two_steps(logits_px: int, input_px: int, kept_px: int, image_px: int) -> sparse.csr_array:
    to_square = _bilinear(logits_px, input_px)[:kept_px]
    matrix = sparse.csr_array((_bilinear(kept_px, image_px) @ to_square).astype(np.float32))
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def _bilinear(source_px: int, target_px: int) -> sparse.csr_array:
    """One step of `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` along one axis.

    Positions are computed in float32 as PyTorch does: in float64 they would differ by up to 1e-4 px at
    1,024 px, enough to move a pixel across the threshold.
    """
    scale = np.float32(source_px) / np.float32(target_px)
    half = np.float32(0.5)
    position = np.maximum(scale * (np.arange(target_px, dtype=np.float32) + half) - half, np.float32(0))
    lower = np.minimum(position.astype(np.int64), source_px - 1)
    upper = np.minimum(lower + 1, source_px - 1)
    fraction = np.clip(position - lower.astype(np.float32), 0, 1).astype(np.float64)
    rows = np.arange(target_px)
    entries = np.concatenate([1 - fraction, fraction])
    places = np.concatenate([rows, rows]), np.concatenate([lower, upper])
    return sparse.csr_array((entries, places), shape=(target_px, source_px))


def image_logits(
    frame: Frame, logits: npt.ArrayLike, rows: slice = slice(None), cols: slice = slice(None)
) -> FloatArray:
    """Enlarge logits to image resolution inside a part of the frame.

    Args:
        frame: The window the logits belong to.
        logits: (256, 256) low-resolution logits.
        rows: Rows wanted, counted from the frame's first row, step 1.
        cols: Columns wanted, counted from the frame's first column, step 1.

    Returns:
        (rows, cols) float32, what `Sam.postprocess_masks` yields there.
    """
    low = np.asarray(logits, dtype=np.float32)
    along_cols = interpolation_matrix(frame, 1, low.shape[1])[cols]
    result: FloatArray = interpolation_matrix(frame, 0, low.shape[0])[rows] @ _columns(along_cols, low)
    return result


def _columns(along_cols: sparse.csr_array, low: FloatArray) -> FloatArray:
    """Enlarge (h, w) logits along columns only: (h, columns) float32, C-contiguous for the row step."""
    return np.ascontiguousarray((along_cols @ np.ascontiguousarray(low.T)).T)


def pieces_at(logits: FloatArray, pointed: BoolArray) -> FloatArray:
    """Turn the pieces of a mask that nothing points at into background.

    Args:
        logits: (256, 256) low-resolution logits.
        pointed: (256, 256), True at the cells that clicks, a box or a painted mask cover.

    Returns:
        The same logits, those of the other pieces (8-connected) with their sign turned; all as they are if no piece
        is pointed at.
    """
    pieces, count = ndimage.label(logits > 0, structure=np.ones((3, 3)))
    kept = np.zeros(count + 1, dtype=np.bool_)
    kept[pieces[pointed]] = True
    kept[0] = False
    if not kept.any():
        return logits
    kept[0] = True
    result: FloatArray = np.where(kept[pieces], logits, -logits)
    return result


def pointed_at(frame: Frame, prompts: Prompts) -> BoolArray:
    """Return the cells (256, 256) of the logits that positive points, a box or a mask cover."""
    cells = np.zeros((LOGITS_PX, LOGITS_PX), dtype=np.bool_)
    if prompts.mask_logits is not None:
        cells |= prompts.mask_logits > 0
    if prompts.box_xyxy is not None:
        (c0, r0), (c1, r1) = _cells(frame, prompts.box_xyxy.reshape(2, 2))
        cells[r0 : r1 + 1, c0 : c1 + 1] = True
    if len(prompts.points_xy):
        cols, rows = _cells(frame, prompts.points_xy[prompts.labels == 1]).T
        cells[rows, cols] = True
    return cells


def _cells(frame: Frame, points_xy: FloatArray) -> IntArray:
    """Map (N, 2) points (x, y) in image pixels to cells (column, row) of the logits."""
    cells = np.floor(frame.to_input(points_xy) * LOGITS_PX / frame.input_px).astype(np.int64)
    return np.clip(cells, 0, LOGITS_PX - 1)


def local_mask(frame: Frame, logits: npt.ArrayLike) -> LocalMask:
    """Turn one candidate's logits into the pixels of its mask (logits > 0, as SAM does).

    Args:
        frame: The window the logits belong to.
        logits: (256, 256) low-resolution logits.

    Returns:
        The mask in image coordinates, cropped to its bounding box.
    """
    low = np.asarray(logits, dtype=np.float32)
    along_rows = interpolation_matrix(frame, 0, low.shape[0])
    along_cols = interpolation_matrix(frame, 1, low.shape[1])
    positive = low > 0
    # Weights are non-negative, so a pixel is positive only if a cell that it reads is.
    r0, r1 = _reading(along_rows, positive.any(axis=1))
    c0, c1 = _reading(along_cols, positive.any(axis=0))
    bits = np.empty((r1 - r0, c1 - c0), dtype=np.bool_)
    for band, values in enlarge_rows(along_rows, _columns(along_cols[c0:c1], low), r0, r1):
        np.greater(values, 0, out=bits[band])
    local = LocalMask.from_dense(bits, frame.top + r0, frame.left + c0)
    return local if local.bitmap.size else LocalMask(frame.top, frame.left, local.bitmap)


def enlarge_rows(
    along_rows: sparse.csr_array, columns: FloatArray, start: int, stop: int
) -> Iterator[tuple[slice, FloatArray]]:
    """Enlarge logits along rows, some rows at a time.

    Args:
        along_rows: From `interpolation_matrix`.
        columns: (h, w) float32, enlarged along columns already.
        start: First row wanted.
        stop: Row after the last one wanted.

    Yields:
        The band, counted from `start`, and its values (rows, w) float32.
    """
    # SciPy's product runs in the thread that asks. A library with threads of its own gains nothing on so little, and
    # loses a hundredfold where they have to wait for a processor: beside a head that trains, for example.
    step = max(1, CHUNK_BYTES // (4 * max(1, columns.shape[1])))
    for row in range(start, stop, step):
        last = min(row + step, stop)
        yield slice(row - start, last - start), along_rows[row:last] @ columns


def _reading(matrix: sparse.csr_array, marked: npt.ArrayLike) -> tuple[int, int]:
    """Return the range of matrix rows that read from the marked range of sources; (0, 0) if none is marked."""
    cells = np.flatnonzero(marked)
    if cells.size == 0:
        return 0, 0
    first_read = matrix.indices[matrix.indptr[:-1]]
    last_read = matrix.indices[matrix.indptr[1:] - 1]
    start = int(np.searchsorted(last_read, cells[0], side="left"))
    stop = int(np.searchsorted(first_read, cells[-1], side="right"))
    return start, stop


def full_masks(frame: Frame, logits: npt.ArrayLike) -> BoolArray:
    """Turn logits (M, 256, 256) into masks (M, H, W) bool at the size of the frame's window."""
    low = np.asarray(logits, dtype=np.float32)
    masks = np.zeros((len(low), *frame.hw), dtype=np.bool_)
    for target, one in zip(masks, low, strict=True):
        local = local_mask(frame, one)
        rows, cols = local.row - frame.top, local.col - frame.left
        height, width = local.bitmap.shape
        target[rows : rows + height, cols : cols + width] = local.bitmap
    return masks


def mask_to_logits(mask: BoolArray | LocalMask, frame: Frame, logits_px: int = LOGITS_PX) -> FloatArray:
    """Turn a painted mask into the logits of a mask prompt.

    Each cell gets the log-odds of the share of it that is painted: 0 where the outline halves it, +-6.9
    inside and outside; the padding of the square counts as outside.

    Args:
        mask: (H, W) bool of the image that the frame is cut from, or a `LocalMask`.
        frame: The window the prompt is for.
        logits_px: Side of the low-resolution logits.

    Returns:
        (logits_px, logits_px) float32.

    Raises:
        PromptError: If the mask is smaller than the window, or nothing is painted in the window.
    """
    if isinstance(mask, LocalMask):
        local = mask
    else:
        window = np.asarray(mask, dtype=np.bool_)[frame.slices]
        if window.shape != frame.hw:
            raise PromptError(
                f"The mask prompt has shape {np.shape(mask)}; give one of the image's size, "
                f"at least ({frame.top + frame.height}, {frame.left + frame.width})."
            )
        local = LocalMask.from_dense(window, frame.top, frame.left)
    share = _painted_share(local, frame, logits_px)
    if not share.any():
        raise PromptError("The mask prompt is empty where the model looks; paint or pick a mask there.")
    share = np.clip(share, _SURE, 1 - _SURE)
    logits: FloatArray = np.log(share / (1 - share)).astype(np.float32)
    return logits


def _painted_share(local: LocalMask, frame: Frame, logits_px: int) -> FloatArray:
    """Share of each low-resolution cell (logits_px, logits_px) that the mask covers, 0..1."""
    rows = slice(max(local.row, frame.top), min(local.slices[0].stop, frame.top + frame.height))
    cols = slice(max(local.col, frame.left), min(local.slices[1].stop, frame.left + frame.width))
    share = np.zeros((logits_px, logits_px))
    if rows.stop <= rows.start or cols.stop <= cols.start:
        return share
    (input_h, input_w), (height, width) = frame.input_hw, frame.hw
    cell_h = frame.input_px / logits_px * height / input_h
    cell_w = frame.input_px / logits_px * width / input_w
    over_rows = _cell_overlap(logits_px, cell_h, height)[:, rows.start - frame.top : rows.stop - frame.top]
    over_cols = _cell_overlap(logits_px, cell_w, width)[:, cols.start - frame.left : cols.stop - frame.left]
    step = max(1, CHUNK_BYTES // (4 * (cols.stop - cols.start)))
    for start in range(rows.start, rows.stop, step):
        stop = min(start + step, rows.stop)
        painted = local.bitmap[
            start - local.row : stop - local.row, cols.start - local.col : cols.stop - local.col
        ]
        by_row = over_rows[:, start - rows.start : stop - rows.start] @ painted.astype(np.float32)
        share += (over_cols @ by_row.T).T
    return share


@lru_cache(maxsize=64)
def _cell_overlap(cells: int, cell_px: float, image_px: int) -> sparse.csc_array:
    """Matrix (cells, image_px): the share of each cell of side `cell_px` that each pixel covers."""
    edges = np.minimum(np.arange(cells + 1) * cell_px, image_px)
    breaks = np.union1d(edges, np.arange(image_px + 1))
    middle = (breaks[:-1] + breaks[1:]) / 2
    cell = np.minimum((middle / cell_px).astype(np.int64), cells - 1)
    pixel = np.minimum(middle.astype(np.int64), image_px - 1)
    return sparse.csc_array((np.diff(breaks) / cell_px, (cell, pixel)), shape=(cells, image_px))
