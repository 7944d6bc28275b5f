"""Segment everything: SAM's automatic mask generator with the decoder of this package.

The masks equal those of `segment_anything.SamAutomaticMaskGenerator` with the same settings (Kirillov et al. 2023,
appendix B), in a different order of computation: masks are filtered by predicted IoU before upscaling, and by an upper
bound of their stability before enlargement, and only bounding boxes are computed at image resolution.

Models with calibrated settings divide large images into tiles, use the boxes of objects that heads find as further
prompts, and keep whole objects instead of their parts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...errors import ConfigError, PromptError
from ...jobs import Job, Progress, run
from ...tiling import SMALLEST_TILE_PX
from ..head_tiles import head_tiles
from ..model import as_pixels
from .crop_search import Candidate, CropSearch, reads_windows
from .crops import crop_frames, points_in
from .head_boxes import boxes_by_tile, head_boxes_job
from .mask_filters import drop_small_islands, fill_small_holes, without_duplicates
from .settings import EverythingSettings
from .whole_objects import drop_small, select_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...arrays import FloatArray, LocalMask
    from ...geometry import Frame
    from ..model import Model


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
    """The grid point of the mask, or the centre of the box of a head's object, (x, y) in image pixels."""
    crop: Frame
    """The window of the image in which the mask was found."""

    @property
    def area_px(self) -> int:
        """Number of pixels."""
        return self.mask.area_px

    @property
    def bbox_xywh(self) -> tuple[int, int, int, int]:
        """Bounding box as in SAM's records: (x, y) of the first pixel, and the distance to the last one."""
        x0, y0, x1, y1 = self.mask.inclusive_box
        return x0, y0, x1 - x0, y1 - y0

    @property
    def crop_xywh(self) -> tuple[int, int, int, int]:
        """The crop as in SAM's records."""
        return self.crop.left, self.crop.top, self.crop.width, self.crop.height


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
    whole_points = settings.whole_points_per_side if reads_windows(settings, decoder) else 0
    boxes = (yield from head_boxes_job(pixels, model)) if settings.use_heads else np.zeros((0, 4))
    total = len(boxes) + sum(
        len(frames) * (whole_points**2 + settings.points_in_layer(n) ** 2) for n, frames in enumerate(layers)
    )
    candidates: list[Candidate] = []
    done = 0
    for number, frames in enumerate(layers):
        boxes_in = boxes_by_tile(boxes if number == 0 else boxes[:0], frames)
        for frame, frame_boxes in zip(frames, boxes_in, strict=True):
            yield Progress(done, total, "Encoding the image", "points")
            search = CropSearch(pixels, hw, frame, model, decoder, settings)
            prompts = _prompts(search, frame, settings, number, frame_boxes)
            for values, decode, size in prompts:
                for start in range(0, len(values), size):
                    yield Progress(done, total, "Segmenting everything", "points")
                    decode(values[start : start + size])
                    done += len(values[start : start + size])
            candidates += search.results()
    if settings.max_covered < 1:
        candidates = select_whole(candidates, hw, settings.max_covered, settings.size_weight)
    elif len(candidates) > 1 and sum(map(len, layers)) > 1:
        candidates = _merge_crops(candidates, settings.crop_nms_thresh)
    candidates = drop_small(candidates, settings.min_relative_area)
    masks = [_unpack(candidate) for candidate in candidates]
    if settings.min_mask_region_area:
        masks = _without_small_regions(masks, hw, settings)
    if settings.drop_over_half_image:
        masks = [mask for mask in masks if 2 * mask.area_px <= hw[0] * hw[1]]
    yield Progress(total, total, "Segmenting everything", "points")
    return masks


def _prompts(
    search: CropSearch, frame: Frame, settings: EverythingSettings, layer: int, boxes: FloatArray
) -> list[tuple[FloatArray, Callable[[FloatArray], None], int]]:
    """Return the points and boxes of a crop, the method that decodes each, and the number per batch."""
    grid = points_in(frame, settings.points_in_layer(layer))
    prompts: list[tuple[FloatArray, Callable[[FloatArray], None], int]]
    if search.reads_windows:
        prompts = [(grid, search.decode_windows, search.window_batch)]
        if settings.whole_points_per_side:
            whole_grid = points_in(frame, settings.whole_points_per_side)
            prompts.append((whole_grid, search.decode, search.batch))
    else:
        prompts = [(grid, search.decode, search.batch)]
    return [*prompts, (boxes, search.decode_boxes, search.window_batch)]


def _unpack(candidate: Candidate) -> EverythingMask:
    mask = candidate.local_mask()
    return EverythingMask(
        mask, candidate.predicted_iou, candidate.stability, candidate.point_xy, candidate.crop
    )


def _merge_crops(candidates: Sequence[Candidate], iou: float) -> list[Candidate]:
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
    kept = without_duplicates([result.mask.inclusive_box for result in cleaned], torch.tensor(unchanged), iou)
    return [cleaned[index] for index in kept]
