"""The pending prompt of a session and its candidates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from psygnal import Signal

from ...annotations import Box
from ...arrays import LocalMask, UInt8Array
from ...errors import PromptError
from ...jobs import Job
from ..editor import Editor
from .answerer import Answer, Answerer, PromptRequest
from .candidate import Candidate
from .prompt_state import PromptState
from .prompting import Prompting
from .tile_cache import AHEAD_TILES, TileFeatures
from .tile_choice import View

if TYPE_CHECKING:
    from ...predict import Model

T = TypeVar("T")


class SessionPrompts:
    """The prompt of the next object: points, boxes and masks, the masks that answer it, and the tiles they need.

    Pending prompts are kept in memory only. `request` and `accept` run in the thread of the session; `answerer` and
    the jobs run in any thread.

    Args:
        image: (H, W, 3) uint8.
        editor: The document and its undo stack, on which each prompt is a step.
    """

    prompts_changed = Signal()
    candidate_changed = Signal(object, object)
    """Boxes (r0, c0, r1, c1) of the candidate before and now, None for none."""

    def __init__(self, image: UInt8Array, editor: Editor) -> None:
        self._image = image
        self._editor = editor
        self._view = View((image.shape[0], image.shape[1]))
        self._prompting = Prompting(self._view, editor.history)
        self.answerer = Answerer()
        """Answers the requests of `request` and `preview` in any thread."""

    @property
    def tiles(self) -> TileFeatures | None:
        """The encoded tiles of the image; None without a model."""
        return self._view.tiles

    @property
    def model(self) -> Model | None:
        """The model that answers prompts; setting another one drops the answers of the model before."""
        return None if self.tiles is None else self.tiles.model

    @model.setter
    def model(self, model: Model | None) -> None:
        if model is not self.model:
            self._view.tiles = None if model is None else TileFeatures(model, self._image)
            self._change(self._prompting.forget_answers)

    @property
    def state(self) -> PromptState:
        """The pending prompt: `points` (x, y, positive), `box` and `mask`."""
        return self._prompting.state

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The masks that answer the prompt, highest predicted IoU first, empty ones last."""
        return self._prompting.candidates

    @property
    def candidate(self) -> Candidate | None:
        """The mask that a commit would use."""
        return self._prompting.candidate

    @property
    def answered(self) -> bool:
        """True if the candidates answer the prompt as it is now."""
        return self._prompting.answered is self.state

    def encode_job(self, centre_rc: tuple[float, float] | None = None, ahead: int = AHEAD_TILES) -> Job[int]:
        """Make a job that encodes the tiles that a click will probably need; tiles in the cache cost nothing.

        Args:
            centre_rc: (row, col) of the centre of the view, in image pixels; the centre of the image by default.
            ahead: Maximum number of tiles of an image that has more than one, nearest first.

        Returns:
            The job; its result is the number of tiles.

        Raises:
            PromptError: If there is no model.
        """
        if self.tiles is None:
            raise PromptError("No model is loaded, so the image cannot be encoded; choose a model.")
        return self.tiles.encode_ahead_job(centre_rc, ahead)

    def look(self, view: Box | None) -> None:
        """Set the part of the image in view: zooming in switches to high-resolution tiles once they are encoded.

        Args:
            view: Box (r0, c0, r1, c1) in image pixels; None if the image is not in view.
        """
        self._view.box = view

    def view_job(self, view: Box, ahead: int = AHEAD_TILES) -> Job[int] | None:
        """Make a job that encodes the tiles that clicks into a view need and that are not encoded yet.

        High-resolution tiles, of half the side, follow the normal ones where the view is no larger than one of them
        and the model takes a few seconds a tile at most.

        Args:
            view: Box (r0, c0, r1, c1) in image pixels.
            ahead: Maximum number of normal tiles, those in the centre of the view first.

        Returns:
            The job; None if nothing is missing, or there is no model.
        """
        return self._view.job(view, ahead)

    def add_point(self, x: float, y: float, positive: bool = True) -> None:
        """Add a point at (x, y) in image pixels; it refines the chosen candidate, if there is one.

        Raises:
            PromptError: If it lies outside the image.
        """
        self._prompt(lambda: self._prompting.add_point(float(x), float(y), bool(positive)))

    def set_box(self, x0: float, y0: float, x1: float, y1: float, further: bool = False) -> None:
        """Set the box in image pixels, corners in any order; it is cropped to the image.

        Args:
            x0: One side.
            y0: One side.
            x1: The opposite side.
            y1: The opposite side.
            further: Keep the earlier boxes; each box is an object of its own, and one commit adds all.

        Raises:
            PromptError: If it lies outside the image or is less than 1 px wide or high, or if it is a further one and
                the object before has points or a mask.
        """
        self._prompt(lambda: self._prompting.set_box(x0, y0, x1, y1, further))

    def set_mask(self, mask: LocalMask) -> None:
        """Set a painted mask as prompt.

        Raises:
            PromptError: If it is empty or does not lie in the image.
        """
        self._prompt(lambda: self._prompting.set_mask(mask))

    def set_object(self, object_id: int) -> None:
        """Set an object as mask prompt; a commit then changes this object, if it still exists.

        Raises:
            UnknownNameError: If there is no such object.
        """
        mask = self._editor.document.pixels(object_id)
        self._prompt(lambda: self._prompting.set_mask(mask, object_id))

    def remove_last(self) -> bool:
        """Undo the last point, box or mask; return False if there is none."""
        return self._travel(self._prompting.undo)

    def redo(self) -> bool:
        """Redo the next step of undo; return False if it is none of the prompt."""
        return self._travel(self._prompting.redo)

    def clear(self) -> None:
        """Drop the prompt and its candidates."""
        if not self.state.empty:
            self._change(self._prompting.clear)
            self.prompts_changed.emit()

    def request(self) -> PromptRequest | None:
        """Return the prompt to be answered; None if there is no prompt or no model."""
        if self.state.empty or self.tiles is None:
            return None
        return PromptRequest(self._prompting.generation, self.state, self.tiles)

    def preview(self, x: float, y: float) -> PromptRequest | None:
        """Return a request for the answer that a click at (x, y) would get; the pending prompt does not change.

        None outside the image, while a prompt is pending, and on tiles that are not encoded yet: a preview must not
        delay real prompts.

        Args:
            x: In image pixels.
            y: In image pixels.
        """
        state, tiles = self._prompting.preview(float(x), float(y)), self.tiles
        if state is None or state.frame is None or tiles is None or not tiles.holds(state.frame):
            return None
        return PromptRequest(self._prompting.generation, state, tiles)

    def accept(self, answer: Answer) -> bool:
        """Use an answer as the candidates; return False, and change nothing, if the prompt has changed since."""
        return self._change(lambda: self._prompting.accept(answer))

    def next_candidate(self, step: int = 1) -> Candidate | None:
        """Choose the next candidate, or the one `step` further; the first follows the last."""
        self._change(lambda: self._prompting.step(step))
        return self.candidate

    def to_commit(self) -> tuple[Candidate, PromptState]:
        """Return the candidate to commit and the prompt that it answers.

        Raises:
            PromptError: If there is none, it is empty, or it does not answer the last prompt yet.
        """
        return self._prompting.to_commit()

    def _prompt(self, add: Callable[[], None]) -> None:
        self._change(add)
        self.prompts_changed.emit()

    def _travel(self, move: Callable[[], bool]) -> bool:
        moved = self._change(move)
        if moved:
            self.prompts_changed.emit()
        return moved

    def _change(self, change: Callable[[], T]) -> T:
        """Call something that may change the candidate, and emit `candidate_changed` if it did."""
        before = self.candidate
        result = change()
        after = self.candidate
        if after is not before:
            self.candidate_changed.emit(before and before.box, after and after.box)
        return result
