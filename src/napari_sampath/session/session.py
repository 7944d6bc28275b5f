"""One image being annotated: prompts, candidates, committed annotations, history. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from psygnal import Signal

from ..annotations import AnnotatedObject, Box, Prepared, PromptStep
from ..arrays import ClassInfo, LocalMask, UInt8Array
from ..errors import PromptError
from ..jobs import Job
from .objects.overlap import OverlapRule
from .prompts.answerer import Answer, Answerer, PromptRequest
from .prompts.candidate import Candidate
from .prompts.commit import make_commit, overlap_of
from .prompts.prompt_state import PromptState
from .prompts.prompting import Prompting
from .prompts.tile_cache import AHEAD_TILES, TileFeatures
from .prompts.tile_choice import View
from .proposals.classifying import apply_guesses, classify_job, everything
from .proposals.neighbours import Guess
from .proposals.uncertain import REGION_COUNT, Reason, UncertainRegion, uncertain_job
from .transfer import Transfer

if TYPE_CHECKING:
    from ..predict import Model
    from .proposals.components import Segmentation

T = TypeVar("T")


class Session(Transfer):
    """The rules of annotating one image.

    Nothing is lost: each commit, stroke, class edit, undo and redo is in the journal on the disk before any
    signal tells of it, and a session that finds a journal begins with all of it. What cannot be saved is not
    done and raises, so that the user may try again. Only pending prompts live in memory alone.

    One thread owns a session and calls everything that changes it, `request` and `accept` included; `answer`
    and the jobs run in any thread. Constructing one reads all pixels and replays the journal, which takes
    seconds for a large image: do that in a worker, the session has no owner until it is handed on.

    Args:
        image: (H, W, 3) uint8; not changed while the session lives.
        name: Name of the image, also of exported files.
        model: Answers prompts; may come later.
        classes: Initial classes; a journal that exists brings its own instead.
        journal: Journal file, made if it is not there (see `journal_path`); None keeps nothing.

    Raises:
        ImageError: If the image is not (H, W, 3) uint8.
        JournalError: If the journal is open in another session or belongs to another image.
        StorageError: If the journal cannot be made.
    """

    prompts_changed = Signal()
    candidate_changed = Signal(object, object)
    """Boxes (r0, c0, r1, c1) of the candidate before and now, None for none."""
    overlap_found = Signal(object)
    """`Overlap`: what lies under the mask that was to be committed; commit again with the answer."""

    def __init__(
        self,
        image: UInt8Array,
        name: str,
        model: Model | None = None,
        classes: Iterable[ClassInfo] | None = None,
        journal: Path | None = None,
    ) -> None:
        super().__init__(image, name, classes, journal)
        self._view = View(self.hw)
        self._prompting = Prompting(self._view, self._edits.history)
        self.answerer = Answerer()
        """Answers the requests of `request` and `preview` in another thread."""
        self.model = model

    @property
    def model(self) -> Model | None:
        """What answers prompts; another model begins without the answers of the one before."""
        return None if self._view.tiles is None else self._view.tiles.model

    @model.setter
    def model(self, model: Model | None) -> None:
        if model is not self.model:
            self._view.tiles = None if model is None else TileFeatures(model, self.image)
            self._change(self._prompting.forget_answers)

    @property
    def prompts(self) -> PromptState:
        """The pending prompt: `points` (x, y, positive), `box` and `mask`."""
        return self._prompting.state

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The masks that answer the prompt, best predicted IoU first, empty ones last."""
        return self._prompting.candidates

    @property
    def candidate(self) -> Candidate | None:
        """The mask that a commit would take."""
        return self._prompting.candidate

    @property
    def answered(self) -> bool:
        """True if the candidates answer the prompt as it is now."""
        return self._prompting.answered is self.prompts

    def encode_job(self, centre_rc: tuple[float, float] | None = None, ahead: int = AHEAD_TILES) -> Job[int]:
        """Make a job that encodes the tiles a click will probably need; those done already cost nothing.

        Args:
            centre_rc: (row, col) of what is in view, in image pixels; the middle of the image if left out.
            ahead: At most so many tiles of an image that is more than one, nearest first.

        Returns:
            The job; its result is the number of tiles.

        Raises:
            PromptError: If there is no model.
        """
        if self._view.tiles is None:
            raise PromptError("No model is loaded, so the image cannot be encoded; choose a model.")
        return self._view.tiles.encode_ahead_job(centre_rc, ahead)

    def look(self, view: Box | None) -> None:
        """Say what is in view: where the user has zoomed in, closer tiles answer clicks once they are encoded.

        Args:
            view: Box (r0, c0, r1, c1) of the image pixels in view; None if nobody looks.
        """
        self._view.box = view

    def view_job(self, view: Box, ahead: int = AHEAD_TILES) -> Job[int] | None:
        """Make a job that encodes what clicks into a view need and is not encoded yet.

        Closer tiles come after the usual ones: of half the side, so that small objects are seen at twice the scale.
        They are made where the view is no larger than one of them, and by a model that takes a few seconds at most.

        Args:
            view: Box (r0, c0, r1, c1) of the image pixels in view.
            ahead: At most so many tiles, those in the middle of the view first.

        Returns:
            The job; None if nothing is missing, or there is no model.
        """
        return self._view.job(view, ahead)

    def add_point(self, x: float, y: float, positive: bool = True) -> None:
        """Add a point at (x, y) in image pixels; the chosen candidate, if any, is refined.

        Raises:
            PromptError: If it lies outside the image.
        """
        self._prompt(lambda: self._prompting.add_point(float(x), float(y), bool(positive)))

    def set_box(self, x0: float, y0: float, x1: float, y1: float, further: bool = False) -> None:
        """Set the box in image pixels, corners in any order; what sticks out of the image is cut off.

        Args:
            x0: One side.
            y0: One side.
            x1: The opposite side.
            y1: The opposite side.
            further: Keep the boxes there are; each is an object of its own, and one commit takes all.

        Raises:
            PromptError: If it lies outside the image, or is less than 1 px wide or high; or if it is a further one and
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
        """Set an annotation as mask prompt, to be refined: a commit changes it, if it is still there.

        Raises:
            UnknownNameError: If there is no such annotation.
        """
        mask = self.document.pixels(object_id)
        self._prompt(lambda: self._prompting.set_mask(mask, object_id))

    def remove_last_prompt(self) -> bool:
        """Take back the last point, box or mask given; False if there is none."""
        return self._travel(self._prompting.undo)

    def clear_prompts(self) -> None:
        """Drop the prompt and its candidates."""
        if not self.prompts.empty:
            self._change(self._prompting.clear)
            self.prompts_changed.emit()

    def request(self) -> PromptRequest | None:
        """Return the prompt to be answered; None if there is none, or no model yet."""
        if self.prompts.empty or self._view.tiles is None:
            return None
        return PromptRequest(self._prompting.generation, self.prompts, self._view.tiles)

    def preview(self, x: float, y: float) -> PromptRequest | None:
        """Return a request whose answer a click at (x, y) would get; nothing pending changes.

        None where there is nothing to show: outside the image, while a prompt is pending, and on tiles that are not
        encoded yet, because looking around shall not make real prompts wait.

        Args:
            x: In image pixels.
            y: In image pixels.
        """
        state = self._prompting.preview(float(x), float(y))
        if (
            state is None
            or state.frame is None
            or self._view.tiles is None
            or not self._view.tiles.holds(state.frame)
        ):
            return None
        return PromptRequest(self._prompting.generation, state, self._view.tiles)

    def answer(self, request: PromptRequest) -> Answer:
        """Answer a request; slow, for any thread. The tile is encoded if it is not yet.

        Raises:
            PromptError: If the model answers no prompts, or the mask does not lie where it looks.
        """
        return self.answerer.answer(request)

    def accept(self, answer: Answer) -> bool:
        """Take an answer as the candidates; False, and nothing changes, if the prompt has moved on."""
        return self._change(lambda: self._prompting.accept(answer))

    def next_candidate(self, step: int = 1) -> Candidate | None:
        """Choose the next candidate (or the one `step` further), beginning again after the last."""
        self._change(lambda: self._prompting.step(step))
        return self.candidate

    def commit(self, overlap: OverlapRule | None = None) -> AnnotatedObject | None:
        """Make the candidate an annotation of the active class, or in semantic mode part of the region it touches.

        If the prompt began with `set_object`, that object gets the pixels of the mask instead, and is reviewed.
        The masks of several boxes become an annotation each, in one step; where they overlap, the first has the pixels.

        Args:
            overlap: What to do with objects under it; the session's own rule if left out. With "ask" and something
                under it nothing is done but telling it by `overlap_found`; the answer is another commit with
                "overwrite" or "keep", and going on with the prompt is one too.

        Returns:
            The annotation, the first of several; None if the overlap was reported instead.

        Raises:
            PromptError: If there is no candidate, it is empty, it does not answer the last prompt yet, or it covers
                nothing but what is to be kept.
            UnknownNameError: If there are no classes.
            StorageError: If it cannot be saved; the candidate is still there.
        """
        candidate, state = self._prompting.to_commit()
        model = None if self.model is None else self.model.name
        rule = overlap or self.overlap
        if rule == "ask":
            found = overlap_of(self.document, candidate, state, self.active_class, self.mask_mode)
            if found is not None:
                self.overlap_found.emit(found)
                return None
        operation, object_id = make_commit(
            self.document, candidate, state, self.active_class, model, rule, self.mask_mode
        )
        patch = self._edits.do(operation)
        self.clear_prompts()
        if not patch.empty:
            self._announce(patch)
        return self.document.objects[object_id]

    def add_everything(
        self, masks: Iterable[tuple[LocalMask, float]], model: str, within: Box | None = None
    ) -> list[AnnotatedObject]:
        """Add the masks of "segment everything" with their scores, as objects that are "unclassified", in one step.

        Verified objects and areas keep their pixels, and so does what lies outside of `within`, the part
        (r0, c0, r1, c1) of the image that was looked at, if it was not all of it.

        Raises:
            StorageError: If that cannot be saved; nothing has changed.
        """
        return self.propose(everything(masks, model, within))

    def add_everything_job(
        self, masks: Iterable[tuple[LocalMask, float]], model: str, within: Box | None = None
    ) -> Job[Prepared | None]:
        """Make a job that works out what `add_everything` would do now; `take` does it."""
        return self.propose_job(everything(masks, model, within))

    def classify_job(self, ids: Iterable[int] | None = None) -> Job[dict[int, Guess]]:
        """Make a job that guesses classes of objects from those classified; see `classifying.classify_job`.

        Raises:
            PromptError: If there is no model, or nothing is classified yet.
        """
        if self._view.tiles is None:
            raise PromptError("No model is loaded, so objects cannot be compared; choose a model.")
        return classify_job(self.document, self._view.tiles, ids)

    def apply_guesses(self, guesses: Mapping[int, Guess], min_share: float = 0.0) -> None:
        """Give objects the classes that `classify_job` guessed, as one step; they don't count as reviewed.

        Raises:
            StorageError: If that cannot be saved; nothing has changed.
        """
        self._do(apply_guesses(self.document, guesses, min_share))

    def uncertain_job(
        self, by: Reason, segmentations: Sequence[Segmentation] = (), count: int = REGION_COUNT
    ) -> Job[list[UncertainRegion]]:
        """Make a job that ranks regions by how little is known of them now; see `uncertain.uncertain_regions`.

        Args:
            by: What to rank by.
            segmentations: What heads found on the image or, all of them, on one region of it, which alone is ranked
                then; of several regions the first.
            count: At most so many.
        """
        return uncertain_job(by, self.hw, self.document.verified_snapshot(), segmentations, count)

    def undo(self) -> bool:
        """Take back what was done last, be it a prompt or a change of the document; False if there is nothing.

        Raises:
            StorageError: If that cannot be saved; nothing has changed.
        """
        if isinstance(self._edits.history.last, PromptStep):
            return self.remove_last_prompt()
        return super().undo()

    def redo(self) -> bool:
        """Do again what was taken back last; False if there is nothing.

        Raises:
            StorageError: If that cannot be saved; nothing has changed.
        """
        if isinstance(self._edits.history.next, PromptStep):
            return self._travel(self._prompting.redo)
        return super().redo()

    def _prompt(self, give: Callable[[], None]) -> None:
        """Give one more prompt and tell."""
        self._change(give)
        self.prompts_changed.emit()

    def _travel(self, step: Callable[[], bool]) -> bool:
        """Undo or redo a prompt step; emit the signals if there was one."""
        moved = self._change(step)
        if moved:
            self.prompts_changed.emit()
        return moved

    def _change(self, change: Callable[[], T]) -> T:
        """Do something that may change the candidate, and tell if it did."""
        before = self.candidate
        result = change()
        now = self.candidate
        if now is not before:
            self.candidate_changed.emit(
                None if before is None else before.box, None if now is None else now.box
            )
        return result
