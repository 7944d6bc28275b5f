"""Objects that heads, "segment everything" and *Find similar* propose for a session."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from ...annotations import AnnotatedObject, Box
from ...arrays import LocalMask
from ...errors import PromptError
from ...formats.maps.slide_result import SlideResult
from ...images.slides import Slide
from ...jobs import Job, run
from ..change import Change
from ..editor import Editor
from ..prompts.tile_cache import TileFeatures
from .classifying import Guess, apply_guesses, classify_job, everything
from .new_objects import NewObjects, Segmentation, check_size, from_segmentation
from .plan import plan_addition, plan_proposal
from .refining import Refinement, RefineSettings, refine_change, refine_job
from .similar import SimilarSearch
from .slide_objects import UntouchedObjects, slide_objects_in_job
from .text import TextResult, text_change, text_job
from .uncertain import REGION_COUNT, Reason, UncertainRegion, uncertain_job
from .uncertain_slide import distant_regions_job, uncertain_slide_job

if TYPE_CHECKING:
    from ...encoders.text.text_model import TextModel
    from ...predict.text.classify import Prompts
    from ...predict.text.settings import TextSettings

Stage: TypeAlias = Literal["assisted", "semi-automatic", "automatic"]
"""The stages of SAM's data engine (Segment Anything, section 4), see `folder.batch`."""


class Proposals:
    """Adds the results of models to a session, and guesses classes.

    Args:
        editor: The editor of the session.
        tiles: Returns the tile features of the image; None without a model.
        slide: The slide; None for an image in memory.

    Attributes:
        similar: Proposes objects that look like objects of a class.
    """

    stage: Stage = "assisted"
    """Stage of this image, which decides whether `offer` adds proposals."""
    untouched: UntouchedObjects | None = None
    """Objects of the result that is shown on a slide, see `touch`."""

    def __init__(
        self, editor: Editor, tiles: Callable[[], TileFeatures | None], slide: Slide | None = None
    ) -> None:
        self._editor = editor
        self._tiles = tiles
        self._slide = slide
        self.similar = SimilarSearch(editor, tiles)

    def add(
        self,
        segmentation: Segmentation | NewObjects,
        model: str | None = None,
        keep_existing: bool = False,
    ) -> Change:
        """Return the change that adds the result of a head: one object per connected component of each class.

        Classes are matched by name; missing classes are added.

        Args:
            segmentation: Result of a head, or the objects that `from_segmentation` made from it in a worker thread.
            model: Name to record instead of the name of the head.
            keep_existing: Whether existing objects keep their pixels.

        Raises:
            ImageError: If the result does not have the size of the image.
        """
        new = self._new_objects(segmentation)
        return Change(self._editor, lambda document: plan_addition(document, new, model, keep_existing))

    def add_result(
        self, result: SlideResult, box: Box | None = None, classes: Collection[str] | None = None
    ) -> list[AnnotatedObject]:
        """Add objects of the result of a run on the slide as one undo step; existing objects keep their pixels.

        Args:
            result: The complete result, with objects.
            box: (r0, c0, r1, c1) in level-0 pixels that the objects overlap; None for the whole slide.
            classes: Names of the classes of the head whose objects are added; None for all.

        Returns:
            The new objects.

        Raises:
            UnknownNameError: If the head has no such class.
            StorageError: If the result is damaged, or the change cannot be saved; nothing has changed.
        """
        head = str(result.fingerprint.get("head", "the result"))
        return self.add(run(slide_objects_in_job(result, head, box, classes)), keep_existing=True).apply()

    def touch(self, row: int, col: int) -> int:
        """Add the object of the result that is shown on the slide at a pixel, if no annotation is there.

        Returns:
            The id of the object at the pixel; 0 if there is none.
        """
        new = None if self.untouched is None else self.untouched.at(row, col)
        document = self._editor.document
        if new is not None and not document.object_at(row, col):
            self.add(new, keep_existing=True).apply()
        return document.object_at(row, col)

    def replace(self, segmentation: Segmentation | NewObjects, model: str | None = None) -> Change:
        """Return the change that replaces earlier proposals by the result of a head; arguments as for `add`.

        Objects that a person created, reviewed or marked as unsure are kept, as is everything in the verified area: a
        newer head never undoes a correction. If only a region was segmented, proposals outside it are kept, too.
        """
        new = self._new_objects(segmentation)
        return Change(self._editor, lambda document: plan_proposal(document, new, model))

    def everything(
        self, masks: Iterable[tuple[LocalMask, float]], model: str, within: Box | None = None
    ) -> Change:
        """Return the change that adds the masks of "segment everything" with their scores as "unclassified" objects.

        Verified objects and areas keep their pixels.

        Args:
            masks: Masks in image coordinates, with scores.
            model: Name to record.
            within: The part (r0, c0, r1, c1) of the image that was segmented; proposals outside it are kept.
        """
        return self.replace(everything(masks, model, within))

    def offer(self, segmentation: Segmentation | NewObjects) -> list[AnnotatedObject]:
        """Apply `replace`, unless the stage is "assisted"; return the new objects."""
        if self.stage == "assisted":
            self._editor.message.emit(
                "Proposals are switched off; choose the semi-automatic stage to get them."
            )
            return []
        return self.replace(segmentation).apply()

    def classify_job(self, ids: Iterable[int] | None = None) -> Job[dict[int, Guess]]:
        """Make a job that guesses classes of objects from verified objects; see `classifying.classify_job`.

        Raises:
            PromptError: If there is no model, or no object is classified yet.
        """
        tiles = self._tiles()
        if tiles is None:
            raise PromptError("No model is loaded, so objects cannot be compared; choose a model.")
        return classify_job(self._editor.document, tiles, ids)

    def apply_guesses(self, guesses: Mapping[int, Guess], min_share: float = 0.0) -> None:
        """Assign the classes that `classify_job` guessed, as one undo step; the objects do not count as reviewed.

        Raises:
            StorageError: If the change cannot be saved; nothing has changed.
        """
        self._editor.do(apply_guesses(self._editor.document, guesses, min_share))

    def classify_by_text_job(
        self,
        pixels: Any,
        prompts: Prompts,
        model: TextModel,
        ids: Iterable[int] | None = None,
        rejected: Sequence[str] = (),
        settings: TextSettings | None = None,
    ) -> Job[TextResult]:
        """Make a job that classifies objects by texts; see `text.text_job`.

        Raises:
            PromptError: If there is no text, or no object to classify.
        """
        return text_job(self._editor.document, pixels, prompts, model, ids, rejected, settings)

    def apply_texts(self, result: TextResult, min_score: float = 0.0) -> Change:
        """Return the change that makes proposals of the source "text" from a result; see `text.text_change`."""
        return text_change(self._editor, result, min_score)

    def refine_job(self, ids: Iterable[int], settings: RefineSettings | None = None) -> Job[Refinement]:
        """Make a job that uses each object as a mask prompt; see `refining.refine_job`.

        Raises:
            PromptError: If there is no model.
        """
        tiles = self._tiles()
        if tiles is None:
            raise PromptError("No model is loaded, so objects cannot be refined; choose a model.")
        return refine_job(self._editor.document.fork(), tiles, list(ids), settings)

    def refine_change(self, refinement: Refinement) -> Change:
        """Return the change that replaces the masks of objects by those of `refine_job`, as one undo step."""
        tiles = self._tiles()
        return refine_change(self._editor, refinement, None if tiles is None else tiles.model.name)

    def uncertain_job(
        self,
        by: Reason,
        segmentations: Sequence[Segmentation | SlideResult] = (),
        count: int = REGION_COUNT,
    ) -> Job[list[UncertainRegion]]:
        """Make a job that ranks regions by uncertainty; see `uncertain.uncertain_regions`.

        Args:
            by: Ranking criterion.
            segmentations: Results of heads on the image or a region of it, or on a whole slide, the newest first; only
                the part that the first covers is ranked.
            count: Maximum number of regions.
        """
        document = self._editor.document
        verified = document.verified_snapshot()
        of_slide = [result for result in segmentations if isinstance(result, SlideResult)]
        if of_slide and segmentations[0] is of_slide[0]:
            return uncertain_slide_job(by, document.hw, verified, of_slide, count)
        if by == "distance" and not segmentations and self._slide is not None:
            return distant_regions_job(self._slide, verified, count)
        of_part = [result for result in segmentations if not isinstance(result, SlideResult)]
        return uncertain_job(by, document.hw, verified, of_part, count)

    def _new_objects(self, segmentation: Segmentation | NewObjects) -> NewObjects:
        if isinstance(segmentation, NewObjects):
            return segmentation
        if getattr(segmentation, "origin_rc", (0, 0)) == (0, 0):
            check_size(np.shape(segmentation.labels), self._editor.document.hw, "The segmentation")
        return from_segmentation(segmentation)
