"""Background jobs that run a head or *segment everything*; slow imports are done inside the jobs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...annotations import Box
from ...arrays import LocalMask, UInt8Array
from ...files.messages import plural
from ...jobs import Job, Progress
from ...session import NewObjects, from_segmentation
from ...session.proposals.result_filter import ResultFilter
from ..background.native_libraries import import_triton_isolated

if TYPE_CHECKING:
    from ...predict import EverythingSettings, Model, Segmentation


@dataclass(frozen=True, slots=True, eq=False)
class HeadResult:
    """The filtered result of a head."""

    segmentation: Segmentation
    """The unfiltered result."""
    objects: NewObjects
    """The objects that pass the filter."""
    labels: UInt8Array
    """Class ids (h, w) of the objects that pass the filter."""
    summary: str
    """One sentence with the number of objects, the share of each class, and the mean confidence."""


def segment_job(
    image: UInt8Array,
    head: str,
    model: Model | None,
    region: Box | None,
    result_filter: ResultFilter,
    mpp: float | None = None,
    magnification: float = 1.0,
) -> Job[HeadResult]:
    """Run a head on an image or a region of it.

    Args:
        image: (H, W, 3) uint8.
        head: Name of a bundled head, or path of a head bundle.
        model: The current model; if the head needs another model, that model is loaded.
        region: (r0, c0, r1, c1) in pixels; None for the whole image.
        result_filter: The filter for the result.
        mpp: Micrometres per pixel of the image; None if unknown.
        magnification: Size of the structures in the image compared with those in the head's training images.
    """
    yield Progress(0, 0, "Loading the head")
    import_triton_isolated()
    from ...heads import load_head
    from ...predict import segment_job as head_job
    from ...predict.head_tiles import head_tile_px

    loaded = load_head(head)
    usable = model is not None and model.name == loaded.encoder_name
    tile_px = head_tile_px(loaded, mpp, magnification=magnification)
    segmentation = yield from head_job(image, loaded, model if usable else None, region, tile_px=tile_px)
    return (yield from filter_job(segmentation, result_filter))


def check_job(
    image: UInt8Array, head: str, region: Box, mpp: float | None = None, magnification: float = 1.0
) -> Job[str]:
    """Say before a head runs how an image differs from its training images; see `check_image` and `segment_job`."""
    yield Progress(0, 0, "Comparing the image with the training images")
    import_triton_isolated()
    from ...heads import load_head
    from ...predict.foreign.compare import check_image
    from ...predict.head_tiles import head_tile_px

    loaded = load_head(head)
    return check_image(image, loaded, region, mpp, head_tile_px(loaded, mpp, magnification=magnification))


def filter_job(segmentation: Segmentation, result_filter: ResultFilter) -> Job[HeadResult]:
    """Filter the result of a head, without running the head again."""
    yield Progress(0, 0, "Filtering the result")
    objects = from_segmentation(segmentation, result_filter)
    labels = objects.label_map()
    shares = [
        f"{info.name} {100 * float(np.mean(labels == info.id)):.0f} %"
        for info in segmentation.classes
        if info.id > 0
    ]
    count, confidence = plural(len(objects.objects), "object"), float(segmentation.confidence.mean())
    summary = (
        f"{count}: {', '.join(shares)}; mean confidence {confidence:.2f}; tiles of {segmentation.tile_px} px."
    )
    return HeadResult(segmentation, objects, labels, summary)


def everything_job(
    image: UInt8Array, model: Model, region: Box, settings: EverythingSettings
) -> Job[list[tuple[LocalMask, float]]]:
    """Segment everything in a region of an image.

    Args:
        image: (H, W, 3) uint8.
        model: A promptable model.
        region: (r0, c0, r1, c1) in pixels.
        settings: Settings of the mask generator; masks of fewer than `min_mask_region_area` pixels are dropped.

    Returns:
        Masks in image coordinates, each with its predicted IoU.
    """
    from ...predict import segment_everything_job

    r0, c0, r1, c1 = region
    pixels = np.ascontiguousarray(image[r0:r1, c0:c1])
    masks = yield from segment_everything_job(pixels, model, settings)
    return [
        (replace(mask.mask, row=mask.mask.row + r0, col=mask.mask.col + c0), mask.predicted_iou)
        for mask in masks
        if mask.area_px >= settings.min_mask_region_area
    ]
