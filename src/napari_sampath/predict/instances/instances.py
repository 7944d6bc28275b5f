"""Instance segmentation: split a head's class map where objects touch, and outline each object with the prompt decoder.

The head finds the areas of each class, their shape gives the number of objects, and the prompt decoder refines the
outline of each from its box. Its outline is used only if it matches the object of the head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...config import load_config
from ...errors import PromptError
from ...geometry import Frame
from ...heads import LoadedHead, load_head
from ...jobs import Job, Progress, run
from ...store import Store
from ...tiling import tile_for, tiles
from ..loading import load_model_job
from ..model import as_pixels
from ..segmentation import Region, Segmentation, segment_job
from .resolve_outlines import Answer, Instance, outer_box, settle
from .settings import InstanceSettings
from .split_touching import pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..model import Model
    from .split_touching import Piece

_DEFAULTS = InstanceSettings()
_AT_ONCE = 64
"""Maximum number of objects between two progress reports."""


def segment_instances(
    image: Any,
    head: LoadedHead | str | Path,
    model: Model | None = None,
    settings: InstanceSettings = _DEFAULTS,
    on_progress: Callable[[Progress], object] | None = None,
    region: Region | None = None,
) -> list[Instance]:
    """Segment an image with a trained head and separate its objects, including touching objects.

    Args:
        image: (H, W, 3) uint8 RGB; other arrays are converted like image files.
        head: A loaded head, the name of a shipped one, or the path of a bundle.
        model: The model whose encoder the head was trained on, one that answers prompts; loaded, with the feature
            store of the user's cache, if left out. Without a store each tile is encoded twice.
        settings: How objects are split, and when the model's outline is used.
        on_progress: Called with every `Progress`.
        region: Segment only this region (r0, c0, r1, c1); outlines may extend slightly beyond it.

    Returns:
        The objects, ordered by class, without overlap.

    Raises:
        PromptError: If the model answers no prompts.
        WeightsError: If the head was trained on another model, or its bundle is damaged.
        UnknownNameError: If there is no such head.
        ImageError: If the array is not an image, or the region lies outside.
    """
    return run(segment_instances_job(image, head, model, settings, region), on_progress)


def segment_instances_job(
    image: Any,
    head: LoadedHead | str | Path,
    model: Model | None = None,
    settings: InstanceSettings = _DEFAULTS,
    region: Region | None = None,
) -> Job[list[Instance]]:
    """Make a job for `segment_instances` that can be cancelled between tiles and between objects."""
    loaded = head if isinstance(head, LoadedHead) else load_head(head)
    if model is None:
        config = load_config()
        store = Store.from_config(config)
        model = yield from load_model_job(loaded.encoder_name, config.device, store=store)
    check_promptable(model)
    pixels = as_pixels(image)
    segmentation = yield from segment_job(pixels, loaded, model, region)
    return (yield from separate_touching_job(segmentation, pixels, model, settings))


def separate_touching_job(
    segmentation: Segmentation, image: Any, model: Model, settings: InstanceSettings = _DEFAULTS
) -> Job[list[Instance]]:
    """Make a job that separates the objects in the result of a head: the second half of `segment_instances`.

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
    check_promptable(model)
    pixels = as_pixels(image)
    hw = int(pixels.shape[0]), int(pixels.shape[1])
    pieces: list[Piece] = []
    for piece in pieces_of(segmentation, settings):
        if len(pieces) % _AT_ONCE == 0:
            yield Progress(len(pieces), 0, "Separating objects", "objects")
        pieces.append(piece)
    answers: dict[int, Answer] = {}
    done = 0
    by_frame = _by_frame(pieces, hw)
    for features, indices in zip(model.encode_tiles(pixels, by_frame), by_frame.values(), strict=True):
        for start in range(0, len(indices), _AT_ONCE):
            yield Progress(done, len(pieces), "Outlining objects", "objects")
            batch = indices[start : start + _AT_ONCE]
            boxes = np.array([outer_box(pieces[index].mask) for index in batch])
            answers.update(zip(batch, model.predict_boxes(features, boxes), strict=True))
            done += len(batch)
    instances = settle(pieces, [answers[number] for number in range(len(pieces))], settings)
    yield Progress(done, len(pieces), "Outlining objects", "objects")
    return instances


def check_promptable(model: Model) -> None:
    """Raise a `PromptError` unless the model is promptable."""
    if not model.promptable:
        raise PromptError(
            f"The encoder '{model.name}' answers no prompts, so it cannot outline objects; use a head trained on "
            "'sampath-tiny' or 'vit_b', or segment classes only."
        )


def _by_frame(pieces: Sequence[Piece], hw: tuple[int, int]) -> dict[Frame, list[int]]:
    """Choose for each piece the tile with the largest margin around it, or a wider tile if none contains it.

    Returns:
        Tile -> indices of its pieces, tiles row by row.
    """
    frames = tiles(hw)
    edges = np.array([(f.left, f.top, f.left + f.width, f.top + f.height) for f in frames])
    # Objects are not cut off at the edges of the image, so the margin there is infinite.
    first = np.where(edges[:, :2] == 0, -np.inf, edges[:, :2])
    last = np.where(edges[:, 2:] == (hw[1], hw[0]), np.inf, edges[:, 2:])
    chosen: dict[Frame, list[int]] = {frame: [] for frame in frames}
    for number, piece in enumerate(pieces):
        box = np.array(outer_box(piece.mask), dtype=np.float64)
        room = np.minimum(box[:2] - first, last - box[2:]).min(axis=1)
        best = int(room.argmax())
        frame = frames[best] if room[best] > 0 else tile_for(hw, box.reshape(2, 2))
        chosen.setdefault(frame, []).append(number)
    return {frame: numbers for frame, numbers in chosen.items() if numbers}
