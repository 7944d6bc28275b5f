"""Pending prompt of a session, with its undo steps, its candidate masks and its tiles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from ...annotations import Box, PromptStep, bounds, clip
from ...annotations.storage.history import Entry
from ...arrays import LocalMask, Prompts, UInt8Array
from ...errors import PromptError
from ...geometry import check_inside
from ...images.slides import Slide
from ...jobs import Job
from ..editor import Editor
from .answerer import Answer, Answerer, PromptRequest
from .candidate import Candidate
from .prompt_state import PromptState
from .tile_cache import AHEAD_TILES, TileFeatures
from .tile_choice import View

if TYPE_CHECKING:
    from ...predict import Model


class SessionPrompts:
    """The prompt for the next object, and the masks predicted for it.

    Pending prompts are kept in memory only. Call `request` and `accept` in the thread of the session; `answerer` and
    the jobs can run in any thread. Each change of the prompt starts a new generation; answers to earlier generations
    are stale.

    Args:
        image: (H, W, 3) uint8, or a slide.
        editor: The document and its undo history, in which each change of the prompt is a step.
    """

    prompts_changed = Signal()
    candidate_changed = Signal(object, object)
    """Bounding boxes (r0, c0, r1, c1) of the previous and the new candidate; None without a candidate."""

    def __init__(self, image: UInt8Array | Slide, editor: Editor) -> None:
        self._image = image
        self._editor = editor
        self._view = View((image.shape[0], image.shape[1]), isinstance(image, Slide))
        self._generation = 0
        self._chosen = 0
        """Index of the selected candidate; before the answer, index of the candidate to select when it arrives."""
        self._shown = 0
        """Index of the candidate that stays selected until the answer to a changed prompt."""
        self._answered: PromptState | None = None
        """The prompt for which the candidates were predicted, which may be an earlier one."""
        self.state = PromptState()
        """The pending prompt; read-only."""
        self.candidates: tuple[Candidate, ...] = ()
        """Masks predicted for the prompt, highest predicted IoU first, empty masks last; read-only."""
        self.answerer = Answerer()
        """Predicts masks for the requests of `request` and `preview`, in any thread."""

    @property
    def tiles(self) -> TileFeatures | None:
        """The encoded tiles of the image; None without a model."""
        return self._view.tiles

    @property
    def model(self) -> Model | None:
        """Model that predicts masks; setting another model keeps the prompt and drops its candidates."""
        return None if self.tiles is None else self.tiles.model

    @model.setter
    def model(self, model: Model | None) -> None:
        if model is self.model:
            return
        self._view.tiles = None if model is None else TileFeatures(model, self._image)
        with self._candidate_signal():
            for step in self._editor.history.prompt_steps:
                step.state = replace(step.state, previous_logits=None, corrects=None)
            self._set_state(replace(self.state, previous_logits=None, corrects=None))
            self._set_candidates((), None)

    @property
    def candidate(self) -> Candidate | None:
        """The selected candidate, which a commit would add."""
        if not self.candidates:
            return None
        return self.candidates[self._chosen if self.answered else self._shown]

    @property
    def chosen(self) -> int:
        """Index of the selected candidate; before the answer, the candidate that is selected then (wrapping around)."""
        return self._chosen

    @property
    def current_answer(self) -> Answer | None:
        """The answer to the current prompt; None while it is missing."""
        return (
            Answer(self._generation, self.state, self.candidates)
            if self.answered and self.candidates
            else None
        )

    @property
    def answered(self) -> bool:
        """True if the candidates were predicted for the current prompt."""
        return self._answered is self.state

    def encode_job(self, centre_rc: tuple[float, float] | None = None, ahead: int = AHEAD_TILES) -> Job[int]:
        """Make a job that encodes the tiles where the first clicks are expected; see `TileFeatures.encode_ahead_job`.

        Raises:
            PromptError: If there is no model.
        """
        if self.tiles is None:
            raise PromptError("No model is loaded, so the image cannot be encoded; choose a model.")
        return self.tiles.encode_ahead_job(centre_rc, ahead)

    def set_view(self, view: Box | None) -> None:
        """Set the part (r0, c0, r1, c1) of the image in view; zooming in switches to high-resolution tiles."""
        self._view.box = view

    def view_job(self, view: Box, ahead: int = AHEAD_TILES) -> Job[int] | None:
        """Make a job that encodes the missing tiles of a view; see `View.job`."""
        return self._view.job(view, ahead)

    def add_point(self, x: float, y: float, positive: bool = True) -> None:
        """Add a point at (x, y) in image pixels, which refines the selected candidate if that is up to date.

        Raises:
            PromptError: If the point lies outside the image, or the prompt has several boxes.
        """
        self._refuse_several_boxes()
        points = (*self.state.points, (float(x), float(y), bool(positive)))
        state = replace(self.state, points=points, corrects=None)
        if self.answered and self.candidate is not None:
            state = replace(state, previous_logits=self.candidate.logits)
        elif not self.state.empty:
            state = replace(state, previous_logits=None, corrects=(self.state, self._chosen))
        self._push(state)

    def set_box(self, x0: float, y0: float, x1: float, y1: float, further: bool = False) -> None:
        """Set the box (x0, y0, x1, y1) in image pixels, corners in any order; it is clipped to the image.

        With `further`, the box is added to the existing boxes: each box is for a separate object, and one commit adds
        all objects.

        Raises:
            PromptError: If the box lies outside the image or is less than 1 px wide or high, or if `further` is set
                and the prompt has points or a mask.
        """
        x0, y0, x1, y1 = np.asarray(Prompts.make(box=(x0, y0, x1, y1)).box_xyxy).tolist()
        height, width = self._view.hw
        box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            check_inside(self._view.hw, [(x0, y0), (x1, y1)])
        if not further or self.state.box is None:
            self._push(replace(self.state, box=box, more_boxes=(), previous_logits=None, corrects=None))
            return
        if self.state.points or self.state.mask is not None:
            raise PromptError(
                "Another box would start a new object, but the current prompt has points or a mask; "
                "commit it first, then draw the boxes of the other objects."
            )
        self._push(
            replace(self.state, more_boxes=(*self.state.more_boxes, box), previous_logits=None, corrects=None)
        )

    def set_mask(self, mask: LocalMask, refines: int = 0) -> None:
        """Set a mask as prompt; `refines` is the id of the object to refine, see `set_object`.

        Raises:
            PromptError: If the mask is empty or does not lie in the image, or the prompt has several boxes.
        """
        self._refuse_several_boxes()
        if mask.step > 1:
            # Leave out elements that reach beyond the image.
            mask = clip(mask, (self._view.hw[0] - mask.step + 1, self._view.hw[1] - mask.step + 1))
        if not mask.bitmap.any():
            raise PromptError("The mask prompt is empty; paint a mask or click an object.")
        r0, c0, r1, c1 = bounds(mask)
        check_inside(self._view.hw, [(c0, r0), (c1, r1)])
        self._push(replace(self.state, mask=mask, refines=refines, previous_logits=None, corrects=None))

    def set_object(self, object_id: int) -> None:
        """Set an object as mask prompt; a commit then changes this object, if it still exists.

        Raises:
            UnknownNameError: If there is no such object.
        """
        self.set_mask(self._editor.document.pixels(object_id), object_id)

    def remove_last(self) -> bool:
        """Remove the last point, box or mask; return False if there is none."""
        return self._swap(self._editor.history.undo_prompt())

    def redo(self) -> bool:
        """Redo the next step; return False if it is not a prompt step."""
        history = self._editor.history
        return isinstance(history.next, PromptStep) and self._swap(history.redo())

    def clear(self) -> None:
        """Drop the prompt, its steps and its candidates."""
        if not self.state.empty:
            self._editor.history.forget_prompts()
            self._change_state(PromptState())

    def reopen(self, state: PromptState, answer: Answer | None, chosen: int) -> None:
        """Make a prompt that was closed the pending prompt again, with its masks if they are known."""
        self._editor.history.push(PromptStep(self.state))
        self._change_state(state)
        if answer is not None:
            self.accept(replace(answer, generation=self._generation))
        self.next_candidate(chosen)

    def request(self) -> PromptRequest | None:
        """Return a request for the masks of the prompt; None if there is no prompt or no model."""
        return None if self.state.empty else self.request_for(self.state)

    def request_for(self, state: PromptState) -> PromptRequest | None:
        """Return a request for the masks of a prompt, pending or not; None if there is no model."""
        return None if self.tiles is None else PromptRequest(self._generation, state, self.tiles)

    def preview(self, x: float, y: float) -> PromptRequest | None:
        """Return a request for the masks of a first click at (x, y); the pending prompt does not change.

        Return None outside the image, while a prompt is pending, and on tiles that are not encoded yet, because
        encoding a tile for a preview would delay clicks.
        """
        height, width = self._view.hw
        if self.tiles is None or not self.state.empty or not (0 <= x <= width and 0 <= y <= height):
            return None
        frame = self._view.tile_for([(x, y)])
        if not self.tiles.holds(frame):
            return None
        return PromptRequest(
            self._generation, PromptState(((float(x), float(y), True),), frame=frame), self.tiles
        )

    def accept(self, answer: Answer) -> bool:
        """Use an answer as the candidates; return False, without any effect, if it is stale."""
        if answer.generation != self._generation or answer.state is not self.state:
            return False
        with self._candidate_signal():
            self._set_candidates(answer.candidates, answer.state, self._chosen)
        return True

    def next_candidate(self, step: int = 1) -> Candidate | None:
        """Select the candidate `step` positions after the current one, wrapping around at the end.

        Before the answer, the selection applies to the masks that are being predicted.
        """
        if self.answered and self.candidates:
            with self._candidate_signal():
                self._chosen = (self._chosen + step) % len(self.candidates)
        elif not self.state.empty:
            self._chosen += step
        return self.candidate

    def to_commit(self) -> tuple[Candidate, PromptState]:
        """Return the candidate to commit and its prompt.

        Raises:
            PromptError: If there is no candidate, or it is empty or older than the prompt.
        """
        if self.candidate is None:
            raise PromptError("There is no mask to commit; click on an object or draw a box around it first.")
        if not self.answered:
            raise PromptError(
                "The mask for the last prompt is not ready yet; wait for it, or undo the last prompt."
            )
        if self.candidate.box is None:
            raise PromptError("The mask is empty; add a point or choose another candidate.")
        return self.candidate, self.state

    def _refuse_several_boxes(self) -> None:
        if self.state.more_boxes:
            raise PromptError(
                f"The prompt has {len(self.state.boxes)} boxes, one per object, and cannot be refined; "
                "press Enter to commit them, or remove all boxes but one."
            )

    def _push(self, state: PromptState) -> None:
        positions = state.positions()
        check_inside(self._view.hw, positions)
        frame = self.state.frame
        if frame is None or not frame.contains(positions):
            # Logits are valid on their own tile only.
            state = replace(state, frame=self._view.tile_for(positions), previous_logits=None, corrects=None)
        self._editor.history.push(PromptStep(self.state))
        self._change_state(state)

    def _swap(self, step: Entry | None) -> bool:
        """Swap the prompt with the prompt of an undo step; return False if it is not a prompt step."""
        if not isinstance(step, PromptStep):
            return False
        state, step.state = step.state, self.state
        self._change_state(state)
        return True

    def _change_state(self, state: PromptState) -> None:
        with self._candidate_signal():
            self._set_state(state)
        self.prompts_changed.emit()

    def _set_state(self, state: PromptState) -> None:
        if self.answered:
            self._shown = self._chosen
        self.state = state
        self._generation += 1
        self._chosen = 0
        if state.empty:
            self._set_candidates((), None)

    def _set_candidates(
        self, candidates: tuple[Candidate, ...], answered: PromptState | None, chosen: int = 0
    ) -> None:
        self.candidates, self._answered = candidates, answered
        self._chosen = chosen % len(candidates) if candidates else 0

    @contextlib.contextmanager
    def _candidate_signal(self) -> Iterator[None]:
        """Emit `candidate_changed` on exit if another candidate is selected."""
        before = self.candidate
        yield
        after = self.candidate
        if after is not before:
            self.candidate_changed.emit(before and before.box, after and after.box)
