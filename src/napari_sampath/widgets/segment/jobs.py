"""The jobs of the Auto-segment dock: what takes long is imported and done here, in a thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...jobs import Job, Progress
from ..background.native_libraries import import_triton_apart

if TYPE_CHECKING:
    from ...annotations import Box
    from ...arrays import LocalMask, UInt8Array
    from ...predict import Model, Segmentation
    from ...session import NewObjects, ResultFilter


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """What a head found, ready to be shown."""

    segmentation: Segmentation
    objects: NewObjects
    """Its objects after filtering, which can be added to the annotations."""
    labels: UInt8Array
    """(h, w) class ids of these objects."""
    summary: str
    """Share of each class, in words."""


def segment_job(
    image: UInt8Array,
    head: str,
    model: Model | None,
    region: Box | None,
    result_filter: ResultFilter,
) -> Job[Segmented]:
    """Run a head over an image or a part of it.

    Args:
        image: (H, W, 3) uint8.
        head: Name of a shipped bundle, or the path of one.
        model: The model in use; another is loaded where the head needs one.
        region: The part (r0, c0, r1, c1); all of it if left out.
        result_filter: The parts of the result to keep.
    """
    yield Progress(0, 0, "Loading the head")
    import_triton_apart()
    from ...heads import load_head
    from ...predict import segment_job as head_job

    loaded = load_head(head)
    fits = model is not None and model.name == loaded.encoder_name
    segmentation = yield from head_job(image, loaded, model if fits else None, region)
    return (yield from filter_job(segmentation, result_filter))


def filter_job(segmentation: Segmentation, result_filter: ResultFilter) -> Job[Segmented]:
    """Leave parts of a result out, and cut the others where objects touch; the head does not run again."""
    yield Progress(0, 0, "Looking at what was found")
    from ...session import from_segmentation

    objects = from_segmentation(segmentation, result_filter)
    labels = objects.label_map()
    shares = [
        f"{info.name} {100 * float(np.mean(labels == info.id)):.0f} %"
        for info in segmentation.classes
        if info.id > 0
    ]
    count = len(objects.objects)
    pieces = f"{count} {'piece' if count == 1 else 'pieces'}"
    confidence = float(segmentation.confidence.mean())
    summary = f"{pieces}: {', '.join(shares)}; the head's mean confidence is {confidence:.2f}."
    return Segmented(segmentation, objects, labels, summary)


def everything_job(
    image: UInt8Array, model: Model, region: Box, points_per_side: int, sure: float, min_area_px: int
) -> Job[list[tuple[LocalMask, float]]]:
    """Find everything that SAM takes for an object in a part of an image.

    Args:
        image: (H, W, 3) uint8.
        model: A model that answers prompts.
        region: The part (r0, c0, r1, c1).
        points_per_side: Points asked along each side of the part.
        sure: Least predicted IoU, 0..1.
        min_area_px: Smaller masks are left out.

    Returns:
        Masks in image coordinates, with their predicted IoU.
    """
    from ...predict import EverythingSettings, segment_everything_job

    r0, c0, r1, c1 = region
    settings = EverythingSettings(
        points_per_side=points_per_side,
        pred_iou_thresh=sure,
        stability_score_thresh=0.0,  # Small models have soft logits; SAM's 0.95 leaves nothing of them.
        min_mask_region_area=min_area_px,
        drop_over_half_image=True,
    )
    pixels = np.ascontiguousarray(image[r0:r1, c0:c1])
    found = yield from segment_everything_job(pixels, model, settings)
    return [
        (replace(one.mask, row=one.mask.row + r0, col=one.mask.col + c0), one.predicted_iou)
        for one in found
        if one.area_px >= min_area_px
    ]
