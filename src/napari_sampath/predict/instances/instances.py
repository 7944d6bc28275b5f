"""Instance segmentation: split a head's class map where objects touch, and outline each object with the prompt decoder.

The head finds the areas of each class, which are split into objects by their shape. The prompt decoder then refines the
outline of each object from its box; the refined outline is used only if it matches that of the head.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import PromptError
from ...geometry import Frame
from ...jobs import Job, Progress, run
from ...tiling import tile_for, tiles
from ..blending import Region
from ..model import as_pixels
from ..segmentation import Segmentation, load_head_job, segment_job
from .resolve_outlines import Answer, Instance, choose_outlines, outer_box
from .settings import InstanceSettings
from .split_touching import split_segmentation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ...arrays import Features, FloatArray
    from ...heads import LoadedHead
    from ..model import Model
    from .split_touching import HeadObject

_DEFAULTS = InstanceSettings()
_BATCH = 64
"""Maximum number of objects between two progress reports."""


def segment_instances(
    image: Any,
    head: LoadedHead | str | Path,
    model: Model | None = None,
    settings: InstanceSettings = _DEFAULTS,
    on_progress: Callable[[Progress], object] | None = None,
    region: Region | None = None,
    mpp: float | None = None,
    tile_px: int | None = None,
) -> list[Instance]:
    """Segment an image with a trained head and separate its objects, including touching objects.

    Args:
        image: (H, W, 3) uint8 RGB; other arrays are converted like image files.
        head: A loaded head, the name of a shipped one, or the path of a bundle.
        model: A model that answers prompts, and whose encoder the head was trained on; loaded with the feature store
            of the user's cache if left out. Without a store, each tile is encoded twice.
        settings: How objects are split, and when the model's outline is used.
        on_progress: Called with every `Progress`.
        region: Segment only this region (r0, c0, r1, c1); outlines may extend slightly beyond it.
        mpp: Micrometres per pixel of the image, see `segment`.
        tile_px: Side of the tiles on which the head runs, see `segment`.

    Returns:
        The objects, ordered by class, without overlap.

    Raises:
        PromptError: If the model answers no prompts, and its outlines are wanted.
        WeightsError: If the head was trained on another model, or its bundle is damaged.
        UnknownNameError: If there is no such head.
        ImageError: If the array is not an image, or the region lies outside.
    """
    job = segment_instances_job(image, head, model, settings, region, mpp, tile_px)
    return run(job, on_progress)


def segment_instances_job(
    image: Any,
    head: LoadedHead | str | Path,
    model: Model | None = None,
    settings: InstanceSettings = _DEFAULTS,
    region: Region | None = None,
    mpp: float | None = None,
    tile_px: int | None = None,
) -> Job[list[Instance]]:
    """Make a job for `segment_instances` that can be cancelled between tiles and between objects."""
    loaded, model = yield from load_head_job(head, model)
    if settings.outlines is not False:
        check_promptable(model)
    pixels = as_pixels(image)
    segmentation = yield from segment_job(pixels, loaded, model, region, mpp=mpp, tile_px=tile_px)
    return (yield from separate_touching_job(segmentation, pixels, model, settings))


def separate_touching_job(
    segmentation: Segmentation, image: Any, model: Model, settings: InstanceSettings = _DEFAULTS
) -> Job[list[Instance]]:
    """Make a job that separates the objects in the result of a head, the second step of `segment_instances`.

    Args:
        segmentation: The result of a head for this image or a region of it.
        image: (H, W, 3) uint8 RGB, the whole image; other arrays are converted like image files.
        model: A model that answers prompts; features of the tiles are looked up in its store.
        settings: How objects are split, and when the model's outline is used.

    Returns:
        The objects, ordered by class, without overlap.

    Raises:
        PromptError: If the model answers no prompts.
    """
    if settings.outlines is not False:
        check_promptable(model)
    pixels = as_pixels(image)
    hw = int(pixels.shape[0]), int(pixels.shape[1])
    objects: list[HeadObject] = []
    for obj in split_segmentation(segmentation, settings):
        if len(objects) % _BATCH == 0:
            yield Progress(len(objects), 0, "Separating objects", "objects")
        objects.append(obj)
    if settings.outlines is False:
        return [Instance(obj.mask, obj.class_id, obj.score, None) for obj in objects]
    answers: dict[int, Answer] = {}
    yield Progress(0, len(objects), "Outlining objects", "objects")
    boxes = np.array([outer_box(obj.mask) for obj in objects], dtype=np.float64).reshape(-1, 4)
    assigned = assign_tiles(boxes, hw)
    for batch in outline_boxes(model, model.encode_tiles(pixels, assigned), assigned, boxes):
        answers.update(batch)
        yield Progress(len(answers), len(objects), "Outlining objects", "objects")
    return choose_outlines(objects, [answers[index] for index in range(len(objects))], settings)


def outline_boxes(
    model: Model, encoded: Iterable[Features], assigned: Mapping[Frame, Sequence[int]], boxes: FloatArray
) -> Iterator[dict[int, Answer]]:
    """Let the prompt decoder answer boxes, in batches.

    Args:
        model: A promptable model.
        encoded: Features of the tiles in `assigned`, in its order.
        assigned: See `assign_tiles`.
        boxes: (N, 4) boxes (x0, y0, x1, y1) in image pixels.

    Yields:
        Index of a box -> the mask and its predicted IoU.
    """
    for features, indices in zip(encoded, assigned.values(), strict=True):
        for start in range(0, len(indices), _BATCH):
            batch = indices[start : start + _BATCH]
            yield dict(zip(batch, model.predict_boxes(features, boxes[batch]), strict=True))


def check_promptable(model: Model) -> None:
    """Raise a `PromptError` unless the model is promptable."""
    if not model.promptable:
        raise PromptError(
            f"The encoder '{model.name}' answers no prompts, so it cannot outline objects; use a head trained on "
            "'sampath-tiny' or 'vit_b', or segment classes only."
        )


def assign_tiles(
    boxes: FloatArray, hw: tuple[int, int], region: Region | None = None
) -> dict[Frame, list[int]]:
    """Choose for each box the tile with the largest margin around it, or a wider tile if none contains it.

    Args:
        boxes: (N, 4) boxes (x0, y0, x1, y1) in image pixels.
        hw: Size (H, W) of the image.
        region: (r0, c0, r1, c1) of the image that contains all boxes; the tiles are those of the whole image.

    Returns:
        Tile -> indices of its boxes, with tiles row by row.
    """
    frames = tiles(hw, region=region)
    edges = np.array([(f.left, f.top, f.left + f.width, f.top + f.height) for f in frames])
    # Objects are not cut off at the edges of the image, so the margin there is infinite.
    first = np.where(edges[:, :2] == 0, -np.inf, edges[:, :2])
    last = np.where(edges[:, 2:] == (hw[1], hw[0]), np.inf, edges[:, 2:])
    chosen: dict[Frame, list[int]] = {frame: [] for frame in frames}
    for index, box in enumerate(boxes):
        margins = np.minimum(box[:2] - first, last - box[2:]).min(axis=1)
        best = int(margins.argmax())
        frame = frames[best] if margins[best] > 0 else tile_for(hw, box.reshape(2, 2))
        chosen.setdefault(frame, []).append(index)
    return {frame: indices for frame, indices in chosen.items() if indices}
