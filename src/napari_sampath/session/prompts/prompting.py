"""The prompt of one object: points, box, mask, their answers, and which of them count."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...annotations import Box, History, PromptStep, Source, bounds, innermost
from ...annotations.masks.shaping import joined
from ...annotations.storage.history import Entry
from ...arrays import BoolArray, FloatArray, LocalMask, Prompts
from ...errors import PromptError
from ...geometry import Frame, check_inside
from ...predict.decoder.candidates import best_first, corrected
from ...predict.decoder.mask_upscaling import local_mask, pieces_at, pointed_at

if TYPE_CHECKING:
    from .tile_cache import TileFeatures
    from .tile_choice import View


@dataclass(frozen=True, slots=True, eq=False)
class PromptState:
    """What has been pointed at so far for one object."""

    points: tuple[tuple[float, float, bool], ...] = ()
    """(x, y, positive) in image pixels, in the order they were given."""
    box: tuple[float, float, float, float] | None = None
    """(x0, y0, x1, y1) in image pixels."""
    mask: LocalMask | None = None
    refines: int = 0
    """Id of the annotation that the mask was taken from, which a commit changes; 0 if a commit makes a new one."""
    further: tuple[tuple[float, float, float, float], ...] = ()
    """Boxes of further objects, like `box`, which then is the first object's; there is nothing else besides."""
    frame: Frame | None = None
    """The tile that all of it is answered on."""
    feed: FloatArray | None = None
    """(256, 256) logits of the answer being refined, on the same tile."""

    @property
    def empty(self) -> bool:
        """True if nothing was given."""
        return not self.points and self.box is None and self.mask is None

    @property
    def boxes(self) -> tuple[tuple[float, float, float, float], ...]:
        """All boxes (x0, y0, x1, y1); if there are several, each is an object."""
        return () if self.box is None else (self.box, *self.further)

    def of_box(self, index: int) -> PromptState:
        """Return the prompt of one of several boxes."""
        return PromptState(box=self.boxes[index], frame=self.frame)

    @property
    def source(self) -> Source:
        """How an annotation made from this came about."""
        if self.box is not None:
            return "box"
        return "mask" if self.mask is not None else "point"

    def extent(self) -> FloatArray:
        """Return (N, 2) all points and corners, (x, y)."""
        places = [(x, y) for x, y, _ in self.points]
        for box in self.boxes:
            places += [box[:2], box[2:]]
        if self.mask is not None:
            r0, c0, r1, c1 = bounds(self.mask)
            places += [(c0, r0), (c1, r1)]
        return np.array(places, dtype=np.float64).reshape(-1, 2)

    def to_json(self) -> dict[str, Any]:
        """Write the prompt for an annotation's record; of a mask only that there was one."""
        return {
            "points": [[x, y] for x, y, _ in self.points],
            "labels": [int(positive) for _, _, positive in self.points],
            "box": None if self.box is None else list(self.box),
            "mask": self.mask is not None,
        }


@dataclass(frozen=True, eq=False)
class Candidate:
    """One mask that answers a prompt."""

    frame: Frame
    logits: FloatArray
    """(256, 256) float32, the model's own."""
    score: float
    """Predicted IoU."""
    pointed: BoolArray | None = None
    """(256, 256), the cells that the prompt points at: the mask is what hangs together with them; None for all."""
    followed: FloatArray | None = None
    """(256, 256) logits that follow all corrections, of which the mask is made; None where there is none."""
    members: tuple[Candidate, ...] = ()
    """If several boxes were given, the mask of each; then this is all of them: their largest logits, lowest score."""

    @cached_property
    def mask(self) -> LocalMask:
        """The mask in image pixels, computed when first asked for."""
        if self.members:
            found = [one.mask for one in self.members if one.mask.bitmap.size]
            return joined(found) if found else self.members[0].mask
        logits = self.logits if self.followed is None else self.followed
        if self.pointed is not None:
            piece = local_mask(self.frame, pieces_at(logits, self.pointed))
            if piece.bitmap.size:  # A cell alone that is hardly positive has no pixel in the image.
                return piece
        return local_mask(self.frame, logits)

    @property
    def box(self) -> Box | None:
        """Bounding box of the mask; None if it is empty."""
        return bounds(self.mask) if self.mask.bitmap.size else None


@dataclass(frozen=True, slots=True, eq=False)
class PromptRequest:
    """A prompt to be answered, with all that is needed to do so in another thread."""

    generation: int
    state: PromptState
    tiles: TileFeatures

    @property
    def frame(self) -> Frame:
        """The tile that is encoded, if it is not yet, to answer."""
        frame = self.state.frame
        if frame is None:
            raise PromptError("There is no prompt; give at least one point, a box or a mask.")
        return frame


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Candidates for a prompt, best first."""

    generation: int
    state: PromptState
    candidates: tuple[Candidate, ...]

    def serve(self, request: PromptRequest) -> Answer | None:
        """Return this preview as the answer to the click that followed it; None if anything else came between."""
        wanted = request.state
        follows = request.generation == self.generation + 1 and wanted.points == self.state.points
        # A closer tile may have come in between, and logits belong to a tile.
        if (
            not follows
            or wanted.frame != self.state.frame
            or wanted.boxes
            or wanted.mask is not None
            or wanted.feed is not None
        ):
            return None
        return Answer(request.generation, wanted, self.candidates)


def answer(request: PromptRequest) -> Answer:
    """Encode the tile if need be and decode the prompt; slow, and touches no session.

    Raises:
        PromptError: If the model answers no prompts, or the mask does not lie on the tile.
    """
    state, model = request.state, request.tiles.model
    features = request.tiles.get(request.frame)
    if state.further:
        logits, scores = model.decode_boxes(features, state.boxes)
        each = tuple(
            Candidate(features.frame, one, float(score), pointed_at(features.frame, Prompts.make(box=box)))
            for one, score, box in zip(logits, scores, state.boxes, strict=True)
        )
        together = Candidate(features.frame, logits.max(axis=0), float(scores.min()), members=each)
        _ = together.mask
        return Answer(request.generation, state, (together,))
    painted = None if state.mask is None else model.mask_to_logits(state.mask, features.frame)
    mask, points = painted if state.feed is None else state.feed, state.points
    alone = state.feed is None and state.box is None and not any(positive for _, _, positive in points)
    if state.mask is not None and alone:
        # SAM never meets a mask alone while it learns: there is always the click or box it came from.
        points = (*points, (*innermost(state.mask), True))
    prompts = Prompts.make(
        [(x, y) for x, y, _ in points],
        [int(positive) for _, _, positive in points],
        state.box,
        mask,
    )
    logits, scores = best_first(model, features, prompts)
    # What an earlier answer got wrong is fed back with it, but nobody has pointed at it.
    pointed = pointed_at(features.frame, replace(prompts, mask_logits=painted))
    candidates = tuple(
        Candidate(features.frame, one, float(score), pointed, _followed(one, state, features.frame))
        for one, score in zip(logits, scores, strict=True)
    )
    # The one shown first is made here, so that accepting it costs the window nothing.
    _ = candidates[0].mask
    return Answer(request.generation, state, candidates)


def _followed(logits: FloatArray, state: PromptState, frame: Frame) -> FloatArray | None:
    """Make a mask follow the corrections of a prompt; None if there are none: the first point says what is meant."""
    corrections = state.points if state.box or state.mask is not None else state.points[1:]
    if not corrections:
        return None
    xy = np.array([(x, y) for x, y, _ in corrections])
    return corrected(logits, xy, np.array([int(positive) for _, _, positive in corrections]), frame)


@dataclass
class Prompting:
    """The prompt being built, what was there before each step, and the newest answer to it.

    Every change makes a new generation; answers to older ones are stale.
    """

    view: View
    """The image's size, and the tile for each prompt."""
    history: History = field(default_factory=History)
    """The session's undo stack, which gets a `PromptStep` for each change."""
    state: PromptState = field(default_factory=PromptState)
    generation: int = 0
    candidates: tuple[Candidate, ...] = ()
    chosen: int = 0
    answered: PromptState | None = None
    """What the candidates answer; the prompt may have moved on since."""

    @property
    def candidate(self) -> Candidate | None:
        """The candidate chosen."""
        return self.candidates[self.chosen] if self.candidates else None

    def preview(self, x: float, y: float) -> PromptState | None:
        """Return the prompt that a first click at (x, y) would make; None if another is pending or it is outside."""
        height, width = self.view.hw
        if not self.state.empty or not (0 <= x <= width and 0 <= y <= height):
            return None
        return PromptState(((x, y, True),), frame=self.view.tile_for([(x, y)]))

    def add_point(self, x: float, y: float, positive: bool) -> None:
        """Add a point, refining the chosen candidate if there is one."""
        self._refuse_several()
        current = self.candidate if self.answered is self.state else None
        feed = self.state.feed if current is None else current.logits
        self._push(replace(self.state, points=(*self.state.points, (x, y, positive)), feed=feed))

    def set_box(self, x0: float, y0: float, x1: float, y1: float, further: bool = False) -> None:
        """Set the box, cut at the image's edge; what was answered without it is not refined.

        A further one is the box of one more object, if there is a box already.
        """
        corners = Prompts.make(box=(x0, y0, x1, y1)).box_xyxy
        left, top, right, bottom = np.asarray(corners).tolist()
        height, width = self.view.hw
        cut = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
        if cut[2] - cut[0] < 1 or cut[3] - cut[1] < 1:
            check_inside(self.view.hw, [(left, top), (right, bottom)])
        if not further or self.state.box is None:
            self._push(replace(self.state, box=cut, further=(), feed=None))
            return
        if self.state.points or self.state.mask is not None:
            raise PromptError(
                "A further box is an object of its own, and this one has more than a box already; "
                "commit it first, then draw the boxes of the others."
            )
        self._push(replace(self.state, further=(*self.state.further, cut), feed=None))

    def set_mask(self, mask: LocalMask, refines: int = 0) -> None:
        """Set the mask prompt, which may be that of an annotation; what was answered without it is not refined."""
        self._refuse_several()
        if not mask.bitmap.any():
            raise PromptError("The mask prompt is empty; paint or pick a mask.")
        r0, c0, r1, c1 = bounds(mask)
        check_inside(self.view.hw, [(c0, r0), (c1, r1)])
        self._push(replace(self.state, mask=mask, refines=refines, feed=None))

    def undo(self) -> bool:
        """Undo the last change of the prompt; return False if there is none."""
        return self._swap(self.history.undo_prompt())

    def redo(self) -> bool:
        """Redo the next step of the history; return False if it is none of the prompt."""
        step = self.history.next
        return isinstance(step, PromptStep) and self._swap(self.history.redo())

    def _swap(self, step: Entry | None) -> bool:
        if not isinstance(step, PromptStep):
            return False
        state, step.state = step.state, self.state
        self._become(state)
        return True

    def clear(self) -> None:
        """Begin a new object."""
        self.history.forget_prompts()
        self._become(PromptState())

    def forget_answers(self) -> None:
        """Keep the prompt and drop what a model said to it: another model will answer."""
        for step in self.history.prompt_steps:
            step.state = replace(step.state, feed=None)
        self._become(replace(self.state, feed=None))
        self._set_candidates((), None)

    def accept(self, given: Answer) -> bool:
        """Take an answer, unless it is stale."""
        if given.generation != self.generation or given.state is not self.state:
            return False
        self._set_candidates(given.candidates, given.state)
        return True

    def to_commit(self) -> tuple[Candidate, PromptState]:
        """Return the candidate chosen and the prompt that it answers.

        Raises:
            PromptError: If there is none, it is empty, or the prompt has moved on.
        """
        if self.candidate is None:
            raise PromptError(
                "There is no mask to commit; click on a structure or draw a box around it first."
            )
        if self.answered is not self.state:
            raise PromptError(
                "The mask does not answer the last prompt yet; wait for its answer, or take the prompt back."
            )
        if self.candidate.box is None:
            raise PromptError("The mask is empty; add a point or choose another candidate.")
        return self.candidate, self.state

    def step(self, by: int) -> None:
        """Choose another candidate."""
        if self.candidates:
            self.chosen = (self.chosen + by) % len(self.candidates)

    def _refuse_several(self) -> None:
        if self.state.further:
            raise PromptError(
                f"There are {len(self.state.boxes)} boxes, each an object of its own; commit them with Enter, "
                "or take boxes back until one is left, which you can refine."
            )

    def _push(self, state: PromptState) -> None:
        places = state.extent()
        check_inside(self.view.hw, places)
        frame = self.state.frame
        if frame is None or not frame.contains(places):
            # Logits belong to a tile: on another one they would mean another place.
            state = replace(state, frame=self.view.tile_for(places), feed=None)
        self.history.push(PromptStep(self.state))
        self._become(state)

    def _become(self, state: PromptState) -> None:
        self.state = state
        self.generation += 1
        if state.empty:
            self._set_candidates((), None)

    def _set_candidates(self, candidates: tuple[Candidate, ...], answered: PromptState | None) -> None:
        self.candidates, self.chosen, self.answered = candidates, 0, answered
