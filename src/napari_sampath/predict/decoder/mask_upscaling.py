"""Upscaling of low-resolution logits to image pixels, and the inverse, within the bounding box of the mask.

Segment Anything enlarges the decoder's logits in two bilinear steps: to the padded square, then, after cropping the
padding, to the image (`Sam.postprocess_masks`). Both steps are linear and separable, so together they are
`A_rows @ logits @ A_cols.T` with at most four weights per row. The product is computed only for the bounding box.
"""

from __future__ import annotations

from dataclasses import replace
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
"""Size of the bands in which logits at image resolution are computed, to stay in the processor's cache."""

_MIN_FRACTION = 1e-3
"""Probability of cells outside a painted mask, 99.9 % inside: logits of +-6.9, the range of SAM's own logits."""


def interpolation_matrix(frame: Frame, axis: int, logits_px: int = LOGITS_PX) -> sparse.csr_array:
    """Return the matrix that maps low-resolution logits to the pixels of a frame along one axis.

    Args:
        frame: The window; only its size is used.
        axis: 0 for rows, 1 for columns.
        logits_px: Side of the low-resolution logits.

    Returns:
        (pixels of the frame, logits_px) float32; every row sums to 1 and has at most four non-zero entries.
    """
    return _two_steps(logits_px, frame.input_px, frame.input_hw[axis], frame.hw[axis])


@lru_cache(maxsize=64)
def _two_steps(logits_px: int, input_px: int, kept_px: int, image_px: int) -> sparse.csr_array:
    # Resize to the padded square, crop the padding, resize to the image.
    to_square = _bilinear(logits_px, input_px)[:kept_px]
    matrix = sparse.csr_array((_bilinear(kept_px, image_px) @ to_square).astype(np.float32))
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def _bilinear(source_px: int, target_px: int) -> sparse.csr_array:
    """Return the matrix of `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` along one axis.

    Positions are rounded to float32 as in PyTorch: in float64 they would differ by up to 1e-4 px at 1,024 px,
    enough to move a pixel across the threshold. PyTorch rounds once, because its AVX2, AVX-512 and GPU kernels fuse
    the multiplication and the addition.
    """
    # Map the centres of target pixels to source positions.
    scale = np.float64(np.float32(source_px) / np.float32(target_px))
    position = np.maximum(scale * (np.arange(target_px) + 0.5) - 0.5, 0).astype(np.float32)
    # Weigh the two nearest source pixels by distance.
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
    """Enlarge logits to image resolution in a part of the frame.

    Args:
        frame: The window of the logits.
        logits: (256, 256) low-resolution logits.
        rows: Rows to compute, relative to the frame, step 1.
        cols: Columns to compute, relative to the frame, step 1.

    Returns:
        (rows, cols) float32, equal to `Sam.postprocess_masks`.
    """
    low = np.asarray(logits, dtype=np.float32)
    along_cols = interpolation_matrix(frame, 1, low.shape[1])[cols]
    result: FloatArray = interpolation_matrix(frame, 0, low.shape[0])[rows] @ _columns(along_cols, low)
    return result


def _columns(along_cols: sparse.csr_array, low: FloatArray) -> FloatArray:
    """Enlarge (h, w) logits along columns to (h, columns) float32, C-contiguous."""
    return np.ascontiguousarray((along_cols @ np.ascontiguousarray(low.T)).T)


def keep_prompted(logits: FloatArray, prompted: BoolArray) -> FloatArray:
    """Remove the connected components of a mask that no prompt covers.

    Args:
        logits: (256, 256) low-resolution logits.
        prompted: (256, 256), True at the cells that points, a box or a painted mask cover.

    Returns:
        The logits, negated in the other components (8-connected); unchanged if no component is covered.
    """
    # Label the components, and find the prompted ones.
    components, count = ndimage.label(logits > 0, structure=np.ones((3, 3)))
    kept = np.zeros(count + 1, dtype=np.bool_)
    kept[components[prompted]] = True
    kept[0] = False
    if not kept.any():
        return logits
    # Negate the others, but not the background.
    kept[0] = True
    result: FloatArray = np.where(kept[components], logits, -logits)
    return result


def prompted_cells(frame: Frame, prompts: Prompts) -> BoolArray:
    """Return the cells (256, 256) of the logits that positive points, a box or a mask prompt cover."""
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


def local_mask(frame: Frame, logits: npt.ArrayLike, step: int = 1) -> LocalMask:
    """Convert the logits of one candidate to a mask (logits > 0, as in SAM).

    Args:
        frame: The window of the logits.
        logits: (256, 256) low-resolution logits.
        step: Step of the mask; the frame starts at a multiple of it.

    Returns:
        The mask in image coordinates, cropped to its bounding box.
    """
    low = np.asarray(logits, dtype=np.float32)
    if step > 1:
        small = local_mask(_at_step(frame, step), low)
        return LocalMask(frame.top + small.row * step, frame.left + small.col * step, small.bitmap, step)
    along_rows = interpolation_matrix(frame, 0, low.shape[0])
    along_cols = interpolation_matrix(frame, 1, low.shape[1])
    positive = low > 0
    # Find the pixels that can be positive: weights are not negative, so one of their cells must be positive.
    r0, r1 = dependent_range(along_rows, positive.any(axis=1))
    c0, c1 = dependent_range(along_cols, positive.any(axis=0))
    # Enlarge the logits there, and threshold them.
    bits = np.empty((r1 - r0, c1 - c0), dtype=np.bool_)
    for band, values in enlarge_rows(along_rows, _columns(along_cols[c0:c1], low), r0, r1):
        np.greater(values, 0, out=bits[band])
    local = LocalMask.from_dense(bits, frame.top + r0, frame.left + c0)
    return local if local.bitmap.size else LocalMask(frame.top, frame.left, local.bitmap)


def _at_step(frame: Frame, step: int) -> Frame:
    """Return a frame in the coordinates of an image whose pixels are `step` times as wide."""
    return replace(frame, top=0, left=0, height=-(-frame.height // step), width=-(-frame.width // step))


def enlarge_rows(
    along_rows: sparse.csr_array, columns: FloatArray, start: int, stop: int
) -> Iterator[tuple[slice, FloatArray]]:
    """Enlarge logits along rows, in bands.

    Args:
        along_rows: From `interpolation_matrix`.
        columns: (h, w) float32, already enlarged along columns.
        start: First row to compute.
        stop: Row after the last one to compute.

    Yields:
        The rows of the band, relative to `start`, and its values (rows, w) float32.
    """
    # SciPy's product runs in the calling thread. A multi-threaded library is no faster on so little data, and a hundred
    # times slower if its threads wait for a processor, for example during training.
    step = max(1, CHUNK_BYTES // (4 * max(1, columns.shape[1])))
    for row in range(start, stop, step):
        last = min(row + step, stop)
        yield slice(row - start, last - start), along_rows[row:last] @ columns


def dependent_range(matrix: sparse.csr_array, marked: npt.ArrayLike) -> tuple[int, int]:
    """Return the range of rows of an interpolation matrix that depend on marked cells (n,); (0, 0) without any."""
    cells = np.flatnonzero(marked)
    if cells.size == 0:
        return 0, 0
    first_read = matrix.indices[matrix.indptr[:-1]]
    last_read = matrix.indices[matrix.indptr[1:] - 1]
    start = int(np.searchsorted(last_read, cells[0], side="left"))
    stop = int(np.searchsorted(first_read, cells[-1], side="right"))
    return start, stop


def full_masks(frame: Frame, logits: npt.ArrayLike) -> BoolArray:
    """Convert logits (M, 256, 256) to masks (M, H, W) bool of the size of the frame's window."""
    low = np.asarray(logits, dtype=np.float32)
    masks = np.zeros((len(low), *frame.hw), dtype=np.bool_)
    for target, candidate in zip(masks, low, strict=True):
        local = local_mask(frame, candidate)
        rows, cols = local.row - frame.top, local.col - frame.left
        height, width = local.bitmap.shape
        target[rows : rows + height, cols : cols + width] = local.bitmap
    return masks


def mask_to_logits(mask: BoolArray | LocalMask, frame: Frame, logits_px: int = LOGITS_PX) -> FloatArray:
    """Convert a painted mask to the logits of a mask prompt.

    Each cell gets the log-odds of its painted fraction: 0 if half of it is painted, +6.9 inside and -6.9 outside. The
    padding of the square counts as outside.

    Args:
        mask: (H, W) bool of the image that the frame is cut from, or a `LocalMask`.
        frame: The window of the prompt.
        logits_px: Side of the low-resolution logits.

    Returns:
        (logits_px, logits_px) float32.

    Raises:
        PromptError: If the mask is smaller than the window, or empty in the window.
    """
    if isinstance(mask, LocalMask):
        local = mask
        if mask.step > 1:
            box = frame.top, frame.left, frame.top + frame.height, frame.left + frame.width
            local = LocalMask.from_dense(mask.window(box, mask.step))
            frame = _at_step(frame, mask.step)
    else:
        window = np.asarray(mask, dtype=np.bool_)[frame.slices]
        if window.shape != frame.hw:
            raise PromptError(
                f"The mask prompt has shape {np.shape(mask)}; give a mask of the image's size, "
                f"at least ({frame.top + frame.height}, {frame.left + frame.width})."
            )
        local = LocalMask.from_dense(window, frame.top, frame.left)
    fraction = _painted_fraction(local, frame, logits_px)
    if not fraction.any():
        raise PromptError("The mask prompt is empty in the tile of the prompt; paint or pick a mask there.")
    fraction = np.clip(fraction, _MIN_FRACTION, 1 - _MIN_FRACTION)
    logits: FloatArray = np.log(fraction / (1 - fraction)).astype(np.float32)
    return logits


def _painted_fraction(local: LocalMask, frame: Frame, logits_px: int) -> FloatArray:
    """Return the fraction of each low-resolution cell (logits_px, logits_px) that the mask covers, 0..1."""
    rows = slice(max(local.row, frame.top), min(local.slices[0].stop, frame.top + frame.height))
    cols = slice(max(local.col, frame.left), min(local.slices[1].stop, frame.left + frame.width))
    fraction = np.zeros((logits_px, logits_px))
    if rows.stop <= rows.start or cols.stop <= cols.start:
        return fraction
    # Compute the size of a cell in image pixels, and the overlaps of cells and pixels along each axis.
    (input_h, input_w), (height, width) = frame.input_hw, frame.hw
    cell_h = frame.input_px / logits_px * height / input_h
    cell_w = frame.input_px / logits_px * width / input_w
    over_rows = _cell_overlap(logits_px, cell_h, height)[:, rows.start - frame.top : rows.stop - frame.top]
    over_cols = _cell_overlap(logits_px, cell_w, width)[:, cols.start - frame.left : cols.stop - frame.left]
    # Sum the painted pixels of each cell, in bands of rows.
    step = max(1, CHUNK_BYTES // (4 * (cols.stop - cols.start)))
    for start in range(rows.start, rows.stop, step):
        stop = min(start + step, rows.stop)
        painted = local.bitmap[
            start - local.row : stop - local.row, cols.start - local.col : cols.stop - local.col
        ]
        by_row = over_rows[:, start - rows.start : stop - rows.start] @ painted.astype(np.float32)
        fraction += (over_cols @ by_row.T).T
    return fraction


@lru_cache(maxsize=64)
def _cell_overlap(cells: int, cell_px: float, image_px: int) -> sparse.csc_array:
    """Return the matrix (cells, image_px) with the fraction of each cell of side `cell_px` that each pixel covers."""
    # Cut the axis at all edges of cells and pixels: each part lies in one cell and one pixel.
    edges = np.minimum(np.arange(cells + 1) * cell_px, image_px)
    breaks = np.union1d(edges, np.arange(image_px + 1))
    middle = (breaks[:-1] + breaks[1:]) / 2
    cell = np.minimum((middle / cell_px).astype(np.int64), cells - 1)
    pixel = np.minimum(middle.astype(np.int64), image_px - 1)
    return sparse.csc_array((np.diff(breaks) / cell_px, (cell, pixel)), shape=(cells, image_px))
