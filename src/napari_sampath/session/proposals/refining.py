"""Refine objects with a model: each object is a mask prompt, and its mask is replaced where the model improves it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ...annotations import (
    Add,
    AnnotatedObject,
    Batch,
    Box,
    Document,
    Erase,
    Operation,
    Source,
    bounds,
    clip,
    perform,
)
from ...annotations.masks.steps import same_step
from ...annotations.model.annotated_object import now
from ...arrays import LocalMask
from ...files.messages import plural
from ...geometry import Frame
from ...jobs import Job, Progress
from ...settings import check_settings, setting
from ...tiling import tile_for
from ..change import Change
from ..editor import Editor
from ..objects.reshaping import free_of, without
from ..prompts.answerer import PromptRequest, decode
from ..prompts.prompt_state import PromptState
from ..prompts.tile_cache import TileFeatures


@dataclass(frozen=True, slots=True)
class RefineSettings:
    """Conditions under which the mask of the model replaces that of an object."""

    min_iou: float = setting(0.6, min=0, max=1, step=0.05, label="Min. agreement")
    """Minimum IoU of the old and the new mask; with a lower one, the object is not changed."""
    same_iou: float = setting(0.95, min=0, max=1, step=0.01, label="Good at IoU")
    """IoU of the old and the new mask at which the object counts as good and is not changed."""
    min_score: float = setting(0.7, min=0, max=1, step=0.05, label="Min. predicted IoU")
    """Minimum predicted IoU of the new mask; objects with a higher recorded score are not changed."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True, eq=False)
class Refinement:
    """Result of a run."""

    masks: dict[int, tuple[LocalMask, float, PromptState]]
    """Object id -> new mask, its predicted IoU, and its prompt."""
    good: int = 0
    """Number of objects that the model would hardly change; they stay as they are."""
    different: int = 0
    """Number of objects whose new mask differs too much; they stay as they are."""
    worse: int = 0
    """Number of objects whose new mask has too low a predicted IoU; they stay as they are."""
    failed: int = 0
    """Number of objects for which there is no new mask."""

    def sentence(self) -> str:
        """Describe the result."""
        reasons = (
            (self.good, "good already"),
            (self.different, "new mask differs too much"),
            (self.worse, "new mask less certain"),
            (self.failed, "no new mask"),
        )
        kept = ", ".join(f"{count} {reason}" for count, reason in reasons if count)
        total = self.good + self.different + self.worse + self.failed
        return (
            f"{plural(len(self.masks), 'object')} refined, {total} unchanged{f' ({kept})' if kept else ''}."
        )


def refine_job(
    document: Document, tiles: TileFeatures, ids: Iterable[int], settings: RefineSettings | None = None
) -> Job[Refinement]:
    """Make a job that predicts a new mask for each object; call it with a fork of the document in another thread.

    Pixels of other objects are not changed.

    Args:
        document: The document, which is not changed.
        tiles: The encoded tiles of the image.
        ids: Ids of the objects; those that do not exist are skipped.
        settings: Conditions under which a new mask is used.

    Raises:
        PromptError: If the model does not support prompts.
    """
    settings = settings or RefineSettings()
    objects = [
        (_frame(document.hw, obj.box), obj) for obj in map(document.objects.get, ids) if obj is not None
    ]
    objects.sort(key=lambda pair: (pair[0].top, pair[0].left, pair[0].height))  # Each tile is encoded once.
    result: dict[int, tuple[LocalMask, float, PromptState]] = {}
    counts = dict.fromkeys(("good", "different", "worse", "failed"), 0)
    for number, (frame, obj) in enumerate(objects):
        yield Progress(number, len(objects), "Refining the objects", "objects")
        mask = document.pixels(obj.id)
        state = PromptState(mask=mask, frame=frame)
        candidates = decode(PromptRequest(0, state, tiles)).candidates
        best = next((candidate for candidate in candidates if candidate.box is not None), None)
        free = None if best is None else _free(document, obj.id, best.mask)
        if best is None or free is None or not free.bitmap.any():
            counts["failed"] += 1
            continue
        agreement = iou(mask, free)
        if agreement >= settings.same_iou:
            counts["good"] += 1
        elif agreement < settings.min_iou:
            counts["different"] += 1
        elif best.score < max(settings.min_score, obj.score or 0.0):
            counts["worse"] += 1
        else:
            result[obj.id] = (free, float(best.score), state)
    return Refinement(result, **counts)


def refine_change(editor: Editor, refinement: Refinement, model: str | None) -> Change:
    """Return the change that replaces the masks of objects, as one undo step; objects that are gone are skipped."""

    def plan(document: Document) -> Operation | None:
        fork, steps = document.fork(), list[Operation]()
        for object_id, (mask, score, state) in refinement.masks.items():
            record = fork.objects.get(object_id)
            if record is None:
                continue
            step = _replacement(fork, record, mask, score, model, state)
            if step is None:  # Other objects have all its pixels now.
                continue
            perform(fork, step)
            steps.append(step)
        return Batch(tuple(steps), f"the refinement of {plural(len(steps), 'object')}") if steps else None

    return Change(editor, plan)


def _replacement(
    document: Document,
    record: AnnotatedObject,
    mask: LocalMask,
    score: float,
    model: str | None,
    state: PromptState,
) -> Operation | None:
    """Return the operation that gives an object a new mask; an unreviewed object stays unreviewed."""
    free = _free(document, record.id, mask)
    if not free.bitmap.any():
        return None
    source: Source = record.source if record.trust == 0 else "mask"
    renewed = replace(
        record, source=source, score=score, model=model, prompts=state.to_json(), modified=now()
    )
    # Add pixels before removing others: an object without pixels is deleted.
    added = Add(((renewed, free),))
    lost = without(document.pixels(record.id), [free])
    return Batch((added, Erase(lost)), "the refinement") if lost.bitmap.any() else added


def iou(first: LocalMask, second: LocalMask) -> float:
    """Return the intersection over union of two masks, 0..1."""
    if not first.area_px + second.area_px:
        return 0.0
    first, second = same_step((first, second))
    # Outside of the second mask, its window is False.
    common = first.bitmap & second.window(bounds(first), first.step)
    common_px = int(common.sum()) * first.step**2
    return common_px / (first.area_px + second.area_px - common_px)


def _frame(hw: tuple[int, int], box: Box) -> Frame:
    r0, c0, r1, c1 = box
    return tile_for(hw, [(c0, r0), (c1, r1)])


def _free(document: Document, object_id: int, mask: LocalMask) -> LocalMask:
    """Remove the pixels of other objects from a mask."""
    free = free_of(document, clip(mask, document.hw), [object_id])
    return LocalMask.from_dense(free.bitmap, free.row, free.col, free.step)
