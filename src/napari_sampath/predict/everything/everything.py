"""Segment everything: SAM's automatic mask generator with the decoder of this package.

The masks equal those of `segment_anything.SamAutomaticMaskGenerator` with the same settings (Kirillov et al. 2023,
appendix B), in a different order of computation: masks are filtered by predicted IoU before upscaling, and by an upper
bound of their stability before enlargement, and only bounding boxes are computed at image resolution.

Models with calibrated settings divide large images into tiles, and keep whole objects instead of their parts.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...arrays import LocalMask
from ...errors import ConfigError, PromptError
from ...geometry import Frame
from ...jobs import Job, Progress, run
from ...tiling import SMALLEST_TILE_PX
from ..decoder.point_windows import decode_windows, points_per_batch, supports_windows
from ..decoder.prompt_decoder import PromptDecoder
from ..head_tiles import head_tiles
from ..model import as_pixels
from .crops import crop_frames, near_crop_edge, points_in
from .mask_filters import (
    StabilityScreen,
    drop_small_islands,
    fill_small_holes,
    inclusive_box,
    without_duplicates,
)
from .settings import EverythingSettings
from .whole_objects import drop_small, select_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from ...arrays import FloatArray
    from ..model import Model


_OUTSIDE_WINDOW = -10.0
"""Logit outside of the window of a point."""


@dataclass(frozen=True, slots=True, eq=False)
class EverythingMask:
    """One mask of `segment_everything`."""

    mask: LocalMask
    """The pixels, in image coordinates."""
    predicted_iou: float
    """IoU that the decoder predicts for the mask."""
    stability_score: float
    """IoU of the masks at the thresholds +offset and -offset, 0..1."""
    point_xy: tuple[float, float]
    """The grid point of the mask, (x, y) in image pixels."""
    crop: Frame
    """The window of the image in which the mask was found."""

    @property
    def area_px(self) -> int:
        """Number of pixels."""
        return self.mask.area_px

    @property
    def bbox_xywh(self) -> tuple[int, int, int, int]:
        """Bounding box as in SAM's records: (x, y) of the first pixel, and the distance to the last one."""
        x0, y0, x1, y1 = inclusive_box(self.mask)
        return x0, y0, x1 - x0, y1 - y0

    @property
    def crop_xywh(self) -> tuple[int, int, int, int]:
        """The crop as in SAM's records."""
        return self.crop.left, self.crop.top, self.crop.width, self.crop.height


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A mask that passed the filters, compressed because most candidates are dropped as duplicates."""

    row: int
    col: int
    hw: tuple[int, int]
    packed: bytes
    box: tuple[int, int, int, int]
    predicted_iou: float
    stability: float
    point_xy: tuple[float, float]
    crop: Frame
    area_px: int
    is_cut: bool
    """Whether the mask probably continues outside of its crop."""

    def local_mask(self) -> LocalMask:
        height, width = self.hw
        packed = np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(height, -(-width // 8))
        bits = np.unpackbits(packed, axis=1, count=width).astype(np.bool_)
        return LocalMask(self.row, self.col, bits)

    def unpack(self) -> EverythingMask:
        mask = self.local_mask()
        return EverythingMask(mask, self.predicted_iou, self.stability, self.point_xy, self.crop)


def segment_everything(
    image: Any,
    model: Model,
    settings: EverythingSettings | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> list[EverythingMask]:
    """Segment all objects with a grid of points; with SAM's weights, as `SamAutomaticMaskGenerator.generate` does.

    Args:
        image: (H, W, 3) uint8 RGB; other arrays are converted like image files.
        model: A model that answers prompts; crops are looked up in its store.
        settings: The settings; by default those calibrated for the model, which are SAM's for SAM's weights.
        on_progress: Called with every `Progress`.

    Returns:
        The masks in SAM's order: by predicted IoU if there is a single crop; best first with `max_covered` below 1.

    Raises:
        ImageError: If the array is not an image.
        PromptError: If the model answers no prompts.
        ConfigError: If the image is too small for `crop_n_layers`.
    """
    return run(segment_everything_job(image, model, settings), on_progress)


def segment_everything_job(
    image: Any, model: Model, settings: EverythingSettings | None = None
) -> Job[list[EverythingMask]]:
    """Make a job for `segment_everything` that can be cancelled between batches of points."""
    decoder = model.decoder
    if decoder is None:
        raise PromptError(
            f"The encoder '{model.name}' answers no prompts, so it cannot segment everything; "
            "choose 'sampath-tiny' or 'vit_b'."
        )
    settings = settings or EverythingSettings.of_model(model.encoder.info)
    pixels = as_pixels(image)
    hw = int(pixels.shape[0]), int(pixels.shape[1])
    layers = crop_frames(hw, settings.crop_n_layers, settings.crop_overlap_ratio, model.input_px)
    if settings.tile_px and not settings.crop_n_layers:
        frames = head_tiles(hw, max(settings.tile_px, SMALLEST_TILE_PX))
        layers = [[replace(frame, input_px=model.input_px) for frame in frames]]
    if min(min(frame.hw) for frames in layers for frame in frames) < 1:
        raise ConfigError(
            f"crop_n_layers is {settings.crop_n_layers}, too many for an image of {hw[1]} x {hw[0]} px; give fewer."
        )
    reads_windows = settings.window_cells > 0 and supports_windows(decoder)
    whole_points = settings.whole_points_per_side if reads_windows else 0
    total = sum(
        len(frames) * (whole_points**2 + settings.points_in_layer(n) ** 2) for n, frames in enumerate(layers)
    )
    candidates: list[_Candidate] = []
    done = 0
    for number, frames in enumerate(layers):
        for frame in frames:
            yield Progress(done, total, "Encoding the image", "points")
            search = _CropSearch(pixels, hw, frame, model, decoder, settings)
            grids = [(points_in(frame, settings.points_in_layer(number)), search.decode, search.batch)]
            if reads_windows:
                window_batch = points_per_batch(settings.window_cells)
                grids = [(grids[0][0], search.decode_windows, window_batch)]
                if whole_points:
                    grids.append((points_in(frame, whole_points), search.decode, search.batch))
            for points, decode, size in grids:
                for start in range(0, len(points), size):
                    yield Progress(done, total, "Segmenting everything", "points")
                    decode(points[start : start + size])
                    done += len(points[start : start + size])
            candidates += search.results()
    if settings.max_covered < 1:
        candidates = select_whole(candidates, hw, settings.max_covered, settings.size_weight)
    elif len(candidates) > 1 and sum(map(len, layers)) > 1:
        candidates = _merge_crops(candidates, settings.crop_nms_thresh)
    candidates = drop_small(candidates, settings.min_relative_area)
    masks = [candidate.unpack() for candidate in candidates]
    if settings.min_mask_region_area:
        masks = _without_small_regions(masks, hw, settings)
    if settings.drop_over_half_image:
        masks = [mask for mask in masks if 2 * mask.area_px <= hw[0] * hw[1]]
    yield Progress(total, total, "Segmenting everything", "points")
    return masks


class _CropSearch:
    """Search in one crop: encodes it, decodes points, and keeps the masks that pass the filters."""

    def __init__(
        self,
        pixels: Any,
        hw: tuple[int, int],
        frame: Frame,
        model: Model,
        decoder: PromptDecoder,
        settings: EverythingSettings,
    ) -> None:
        self._hw, self._settings, self._decoder = hw, settings, decoder
        features = model.encode(pixels, frame)
        self._frame = features.frame
        self._embedding = features.maps["embedding"]
        self._tile = decoder.activate(self._embedding)
        self._screen = StabilityScreen(features.frame, decoder.logits_px, settings.stability_score_offset)
        self._candidates: list[_Candidate] = []
        self._max_area_px = settings.max_area_share * frame.height * frame.width
        self.batch = min(settings.points_per_batch, decoder.batch)

    def decode(self, points_xy: FloatArray) -> None:
        """Decode points (N, 2), (x, y) in image pixels, and keep the candidates that pass the filters."""
        xy = self._to_input(points_xy)
        labels = torch.ones(len(xy), 1, dtype=torch.int64, device=xy.device)
        attended = self._decoder.attend(self._tile, (xy[:, None], labels))
        chosen = self._is_good(attended.scores)
        self._keep(
            points_xy, self._decoder.logits(attended, chosen), attended.scores[chosen], chosen.nonzero()[:, 0]
        )

    def decode_windows(self, points_xy: FloatArray) -> None:
        """Like `decode`, but the decoder reads a window around each point."""
        side, full = self._settings.window_cells, self._decoder.logits_px
        found = decode_windows(self._decoder, self._embedding, self._to_input(points_xy), side)
        # Drop masks that a window cuts off.
        windows = [Frame(row, col, 4 * side, 4 * side) for row, col in found.origins_rc]
        inner = torch.stack([_inner_cells(window, full) for window in windows]).to(found.logits.device)
        cut = ((found.logits > 0) & ~inner[:, None]).any(dim=(2, 3))
        chosen = self._is_good(found.scores) & ~cut
        owners = chosen.nonzero()[:, 0]
        logits = found.logits.new_full((len(owners), full, full), _OUTSIDE_WINDOW)
        for target, values, owner in zip(logits, found.logits[chosen], owners.tolist(), strict=True):
            target[windows[owner].slices] = values
        self._keep(points_xy, logits, found.scores[chosen], owners)

    def _to_input(self, points_xy: FloatArray) -> Tensor:
        xy = torch.as_tensor(self._frame.to_input(points_xy), dtype=torch.float32)
        return xy.to(self._decoder.position.device)

    def _is_good(self, scores: Tensor) -> Tensor:
        """Return which candidates (B, M) have a sufficient predicted IoU."""
        if self._settings.pred_iou_thresh > 0:
            return scores > self._settings.pred_iou_thresh
        return torch.ones_like(scores, dtype=torch.bool)

    def _keep(self, points_xy: FloatArray, logits: Tensor, scores: Tensor, owners: Tensor) -> None:
        """Keep the candidates (K, 256, 256) of points (N, 2) that pass the filters."""
        threshold = self._settings.stability_score_thresh
        if threshold > 0:
            possible = self._screen.upper_bound(logits) >= threshold
            logits, scores, owners = logits[possible], scores[possible], owners[possible]
        for candidate, score, owner in zip(
            logits.cpu().numpy(), scores.tolist(), owners.tolist(), strict=True
        ):
            mask, stability = self._screen.measure(candidate)
            if threshold > 0 and not stability >= np.float32(threshold):
                continue
            area = mask.area_px
            if not self._settings.min_area_px <= area <= self._max_area_px:
                continue
            box = inclusive_box(mask)
            is_cut = bool(near_crop_edge(box, self._frame, self._hw)[0])
            if is_cut and self._settings.max_covered == 1:
                continue
            x, y = points_xy[owner].tolist()
            bits = zlib.compress(np.packbits(mask.bitmap, axis=1).tobytes(), level=1)
            place = mask.row, mask.col, mask.bitmap.shape
            self._candidates.append(
                _Candidate(*place, bits, box, score, float(stability), (x, y), self._frame, area, is_cut)
            )

    def results(self) -> list[_Candidate]:
        """Return the candidates without duplicates, best predicted IoU first."""
        scores = torch.tensor(
            [candidate.predicted_iou for candidate in self._candidates], dtype=torch.float32
        )
        boxes = [candidate.box for candidate in self._candidates]
        kept = without_duplicates(boxes, scores, self._settings.box_nms_thresh)
        return [self._candidates[index] for index in kept]


def _inner_cells(window: Frame, full: int) -> Tensor:
    """Return the cells (h, w) of a window that are not at an edge inside the tile, whose logits are (full, full)."""
    inner = torch.ones(window.hw, dtype=torch.bool)
    for cells, first, size in ((inner, window.top, window.height), (inner.T, window.left, window.width)):
        cells[: int(first > 0)] = False
        cells[size - int(first + size < full) :] = False
    return inner


def _merge_crops(candidates: Sequence[_Candidate], iou: float) -> list[_Candidate]:
    """Drop duplicates between crops; masks from smaller crops are more detailed and preferred."""
    areas = torch.tensor([candidate.crop.height * candidate.crop.width for candidate in candidates])
    kept = without_duplicates([candidate.box for candidate in candidates], 1 / areas, iou)
    return [candidates[index] for index in kept]


def _without_small_regions(
    results: Sequence[EverythingMask], hw: tuple[int, int], settings: EverythingSettings
) -> list[EverythingMask]:
    """Fill small holes, remove small islands, then drop new duplicates; unchanged masks are preferred."""
    cleaned: list[EverythingMask] = []
    unchanged: list[float] = []
    for result in results:
        mask, filled, dropped = result.mask, False, False
        if mask.bitmap.size:
            mask, filled = fill_small_holes(mask, hw, settings.min_mask_region_area)
            mask, dropped = drop_small_islands(mask, settings.min_mask_region_area)
        unchanged.append(float(not (filled or dropped)))
        cleaned.append(replace(result, mask=mask))
    iou = max(settings.box_nms_thresh, settings.crop_nms_thresh)
    kept = without_duplicates(
        [inclusive_box(result.mask) for result in cleaned], torch.tensor(unchanged), iou
    )
    return [cleaned[index] for index in kept]
