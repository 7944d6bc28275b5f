"""*Find similar* in a session: propose objects that look like those of a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...annotations import Box, Document, Operation
from ...annotations.masks.steps import count_where
from ...arrays import BoolArray, LocalMask
from ...errors import PromptError
from ...jobs import Job
from ..change import Change
from .new_objects import NewObject, NewObjects
from .plan import plan_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...predict.similar.selection import SimilarResult
    from ...predict.similar.settings import SimilarSettings
    from ...predict.similar.shipped_heads import ShippedHeads
    from ...predict.similar.tile_search import SimilarObject
    from ..editor import Editor
    from ..prompts.tile_cache import TileFeatures

MAX_EXEMPLARS = 20
"""Maximum number of exemplars; of more objects, the newest are used."""


class SimilarSearch:
    """Searches an image for objects that look like those of a class, and proposes them.

    Deleted proposals of the last search count as rejected: objects that look more like them than like the exemplars get
    a lower similarity at the next `propose`, without a new search.

    Args:
        editor: The editor of the session.
        tiles: Function that returns the tile features of the image; None without a model.
    """

    def __init__(self, editor: Editor, tiles: Callable[[], TileFeatures | None]) -> None:
        self._editor, self._tiles = editor, tiles
        self.result: SimilarResult | None = None
        """All candidates of the last search."""
        self.class_id = 0
        """Class of the exemplars of the last search."""
        self._within: Box | None = None
        self._heads: tuple[TileFeatures, ShippedHeads] | None = None
        self._model = ""
        self._offered: list[SimilarObject] = []
        self._rejected: list[SimilarObject] = []

    def exemplars(self, class_id: int) -> list[int]:
        """Return the ids of the objects of a class from which a search starts: verified ones, the newest last."""
        objects = self._editor.document.objects.values()
        ids = [obj.id for obj in objects if obj.class_id == class_id and obj.trust == 1 and obj.area_px]
        return sorted(ids)[-MAX_EXEMPLARS:]

    def job(
        self, class_id: int, ids: Sequence[int] | None = None, within: Box | None = None
    ) -> Job[SimilarResult]:
        """Make a job that searches the image; pass its result to `use`.

        Args:
            class_id: Class of the exemplars.
            ids: The exemplars; by default `exemplars`.
            within: Part (r0, c0, r1, c1) of the image to search; the whole image if left out.

        Raises:
            PromptError: If there is no model, or no object of the class.
            UnknownNameError: If an object does not exist.
        """
        from ...predict.similar.find_similar import find_similar_job

        document, tiles = self._editor.document, self._tiles()
        if tiles is None:
            raise PromptError("No model is loaded, so similar objects cannot be found; choose a model.")
        chosen = self.exemplars(class_id) if ids is None else list(ids)
        if not chosen:
            name = document.classes.by_id(class_id).name
            raise PromptError(
                f"There is no object of class '{name}' to start from; commit one, or accept a proposal."
            )
        masks = [document.pixels(document.record(number).id) for number in chosen]
        rejected = [obj.mask for obj in self.rejected()] if class_id == self.class_id else []
        return find_similar_job(
            document.hw, masks, tiles.model, tiles.get, rejected, within, self._heads_of(tiles)
        )

    def _heads_of(self, tiles: TileFeatures) -> ShippedHeads:
        """Return the finder of the objects of shipped heads, which keeps them for further searches."""
        from ...predict.similar.shipped_heads import ShippedHeads

        if self._heads is None or self._heads[0] is not tiles:
            self._heads = tiles, ShippedHeads(tiles.model, tiles.image)
        return self._heads[1]

    def use(self, result: SimilarResult, class_id: int, within: Box | None = None) -> None:
        """Store the result of `job`, so that `propose` can choose among its candidates."""
        tiles = self._tiles()
        self.result, self.class_id, self._within = result, class_id, within
        self._model = "" if tiles is None else tiles.model.name
        self._offered, self._rejected = [], []

    def propose(self, settings: SimilarSettings | None = None) -> Change:
        """Return the change that replaces earlier unreviewed proposals of the class in the searched part.

        Existing objects and the verified area keep their pixels. A slider can call this at every move, because it needs
        no new search.

        Raises:
            PromptError: If nothing has been searched yet.
        """
        from ...predict.similar.settings import SimilarSettings

        settings = settings or SimilarSettings()
        if self.result is None:
            raise PromptError("Nothing has been searched yet; find similar objects first.")
        self._rejected = self.rejected()
        gone = {id(obj.mask) for obj in self._rejected}
        chosen = self.result.rejecting(self._rejected).select(settings)
        kept = [obj for obj in chosen if id(obj.mask) not in gone]
        self._offered = kept
        new = NewObjects(
            tuple(
                NewObject(self.class_id, obj.mask, float(np.clip(obj.similarity, 0, 1)))
                for obj in reversed(kept)
            ),
            (self._editor.document.classes.by_id(self.class_id),),
            self._model,
        )
        class_id, within = self.class_id, self._within
        return Change(
            self._editor,
            lambda document: _plan(document, new, class_id, within, settings.max_overlap),
        )

    def rejected(self) -> list[SimilarObject]:
        """Return the candidates that were proposed and then deleted by a person."""
        document = self._editor.document
        proposed = [*self._rejected, *self._offered]
        gone = [obj for obj in proposed if _is_free(document, obj.mask)]
        # If the whole step was undone, no candidate counts as rejected.
        return [] if len(gone) == len(proposed) > 1 else gone


def _is_free(document: Document, mask: LocalMask) -> bool:
    """Return True if less than half of a mask belongs to objects."""
    return sum(document.counts_under(mask).values()) < mask.area_px / 2


def _plan(
    document: Document, new: NewObjects, class_id: int, within: Box | None, max_overlap: float
) -> Operation | None:
    """Plan to delete earlier proposals of the class, and to add new ones where no other object is."""
    r0, c0, r1, c1 = within or (0, 0, *document.hw)
    earlier = []
    for obj in document.objects.values():
        row, col = (obj.box[0] + obj.box[2]) / 2, (obj.box[1] + obj.box[3]) / 2
        proposed = obj.source == "similar" and obj.trust == 0 and obj.class_id == class_id
        if proposed and r0 <= row <= r1 and c0 <= col <= c1:
            earlier.append(obj.id)
    kept = np.zeros(document.next_id, dtype=np.bool_)
    kept[list(document.objects)] = True
    kept[earlier] = False

    def unavailable(box: Box) -> BoolArray:
        used: BoolArray = kept[document.instance_map.window(box)]
        return used | document.verified(box)

    free = tuple(
        obj
        for obj in new.objects
        if count_where(obj.mask, document.hw, unavailable) <= max_overlap * obj.mask.area_px
    )
    objects = NewObjects(free, new.classes, new.head)
    return plan_objects(document, objects, "similar", None, unavailable, tuple(earlier))
