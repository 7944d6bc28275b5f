"""The pending prompt of a session: its steps, the answer to it, and the chosen candidate."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ...annotations import History, PromptStep, bounds
from ...annotations.storage.history import Entry
from ...arrays import LocalMask, Prompts
from ...errors import PromptError
from ...geometry import check_inside
from .answerer import Answer
from .candidate import Candidate
from .prompt_state import PromptState

if TYPE_CHECKING:
    from .tile_choice import View


@dataclass
class Prompting:
    """The prompt being given, its earlier states for undo and redo, and the newest answer.

    Every change starts a new generation; answers to earlier generations are stale.
    """

    view: View
    """Size of the image, and the choice of a tile for each prompt."""
    history: History = field(default_factory=History)
    """The session's undo stack, which gets a `PromptStep` for each change."""
    state: PromptState = field(default_factory=PromptState)
    generation: int = 0
    candidates: tuple[Candidate, ...] = ()
    chosen: int = 0
    answered: PromptState | None = None
    """The state that the candidates answer, which may be an earlier one."""

    @property
    def candidate(self) -> Candidate | None:
        """The chosen candidate."""
        return self.candidates[self.chosen] if self.candidates else None

    def preview(self, x: float, y: float) -> PromptState | None:
        """Return the prompt of a first click at (x, y); None outside the image or while a prompt is pending."""
        height, width = self.view.hw
        if not self.state.empty or not (0 <= x <= width and 0 <= y <= height):
            return None
        return PromptState(((x, y, True),), frame=self.view.tile_for([(x, y)]))

    def add_point(self, x: float, y: float, positive: bool) -> None:
        """Add a point, which refines the chosen candidate if it answers the present prompt."""
        self._refuse_several_boxes()
        current = self.candidate if self.answered is self.state else None
        previous = self.state.previous_logits if current is None else current.logits
        points = (*self.state.points, (x, y, positive))
        self._push(replace(self.state, points=points, previous_logits=previous))

    def set_box(self, x0: float, y0: float, x1: float, y1: float, further: bool = False) -> None:
        """Set the box, clipped to the image, or with `further` add a box for one more object."""
        x0, y0, x1, y1 = np.asarray(Prompts.make(box=(x0, y0, x1, y1)).box_xyxy).tolist()
        height, width = self.view.hw
        box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            check_inside(self.view.hw, [(x0, y0), (x1, y1)])
        if not further or self.state.box is None:
            self._push(replace(self.state, box=box, more_boxes=(), previous_logits=None))
            return
        if self.state.points or self.state.mask is not None:
            raise PromptError(
                "A further box would be a new object, and the present object has points or a mask; "
                "commit it first, then draw the boxes of the others."
            )
        self._push(replace(self.state, more_boxes=(*self.state.more_boxes, box), previous_logits=None))

    def set_mask(self, mask: LocalMask, refines: int = 0) -> None:
        """Set the mask; `refines` is the id of the object that it belongs to, if any."""
        self._refuse_several_boxes()
        if not mask.bitmap.any():
            raise PromptError("The mask prompt is empty; paint or pick a mask.")
        r0, c0, r1, c1 = bounds(mask)
        check_inside(self.view.hw, [(c0, r0), (c1, r1)])
        self._push(replace(self.state, mask=mask, refines=refines, previous_logits=None))

    def undo(self) -> bool:
        """Undo the last change of the prompt; False if there is none."""
        return self._swap(self.history.undo_prompt())

    def redo(self) -> bool:
        """Redo the next step of the history; False if it is no change of the prompt."""
        step = self.history.next
        return isinstance(step, PromptStep) and self._swap(self.history.redo())

    def _swap(self, step: Entry | None) -> bool:
        """Exchange the prompt with the one that a step of the history holds."""
        if not isinstance(step, PromptStep):
            return False
        state, step.state = step.state, self.state
        self._set_state(state)
        return True

    def clear(self) -> None:
        """Drop the prompt, its steps and its answer."""
        self.history.forget_prompts()
        self._set_state(PromptState())

    def forget_answers(self) -> None:
        """Keep the prompt but drop its answers, because another model will answer."""
        for step in self.history.prompt_steps:
            step.state = replace(step.state, previous_logits=None)
        self._set_state(replace(self.state, previous_logits=None))
        self._set_candidates((), None)

    def accept(self, answer: Answer) -> bool:
        """Show the candidates of an answer; False if it is stale."""
        if answer.generation != self.generation or answer.state is not self.state:
            return False
        self._set_candidates(answer.candidates, answer.state)
        return True

    def to_commit(self) -> tuple[Candidate, PromptState]:
        """Return the chosen candidate and the prompt that it answers.

        Raises:
            PromptError: If there is no candidate, it is empty, or it answers an earlier prompt.
        """
        if self.candidate is None:
            raise PromptError("There is no mask to commit; click on an object or draw a box around it first.")
        if self.answered is not self.state:
            raise PromptError(
                "The mask does not answer the last prompt yet; wait for the new mask, or undo the last prompt."
            )
        if self.candidate.box is None:
            raise PromptError("The mask is empty; add a point or choose another candidate.")
        return self.candidate, self.state

    def step(self, by: int) -> None:
        """Choose another candidate, wrapping around at the end."""
        if self.candidates:
            self.chosen = (self.chosen + by) % len(self.candidates)

    def _refuse_several_boxes(self) -> None:
        if self.state.more_boxes:
            raise PromptError(
                f"The prompt has {len(self.state.boxes)} boxes, one per object, and cannot be refined; "
                "press Enter to commit them, or remove all boxes but one."
            )

    def _push(self, state: PromptState) -> None:
        positions = state.positions()
        check_inside(self.view.hw, positions)
        frame = self.state.frame
        if frame is None or not frame.contains(positions):
            # Logits are valid on their own tile only.
            state = replace(state, frame=self.view.tile_for(positions), previous_logits=None)
        self.history.push(PromptStep(self.state))
        self._set_state(state)

    def _set_state(self, state: PromptState) -> None:
        self.state = state
        self.generation += 1
        if state.empty:
            self._set_candidates((), None)

    def _set_candidates(self, candidates: tuple[Candidate, ...], answered: PromptState | None) -> None:
        self.candidates, self.chosen, self.answered = candidates, 0, answered
