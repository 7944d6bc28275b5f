"""Outlines of the objects of a slide by the prompt decoder: each object is prompted once, with its box.

The tile that answers a prompt is that of the tile grid of the whole slide which an image of the same size would use, so
that the outlines do not depend on the blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ...encoders.weights.weights import digest
from ...formats.maps.slide_outlines import Outlines, OutlineStore
from ...tiling import SINGLE_TILE_PX
from ..head_tiles import LARGEST_TILE_PX
from ..instances.instances import assign_tiles, check_promptable, outline_boxes
from .settings_names import settings_name

if TYPE_CHECKING:
    from ...arrays import Features, IntArray
    from ...formats.maps.slide_result import Box
    from ...geometry import Frame
    from ..instances.resolve_outlines import Answer
    from ..instances.settings import InstanceSettings
    from ..model import Model
    from .slide_plan import SlidePlan

_VERSION = 1
"""Version of the computation; outlines of other versions are not continued."""


class Outliner:
    """Outlines the objects of the blocks of a slide, and keeps the outlines in its result.

    Args:
        plan: The run.
        settings: How objects are separated.

    Raises:
        PromptError: If the model of the run answers no prompts.
    """

    def __init__(self, plan: SlidePlan, settings: InstanceSettings) -> None:
        check_promptable(plan.model)
        self.plan = plan
        self.name = f"{settings_name(settings)}-{_decoder_digest(plan.model)}"
        """Name of everything that the outlines depend on, beside what the result itself depends on."""
        self.store = OutlineStore.of_result(plan.result.path, self.name)

    @classmethod
    def of(cls, plan: SlidePlan, settings: InstanceSettings | None) -> Outliner | None:
        """Return the outliner of a run; None if its objects keep the outlines of the head."""
        return cls(plan, settings) if settings is not None and settings.outlines else None

    def outline(self, name: str, boxes: IntArray, region: Box) -> Iterator[int]:
        """Outline objects and keep their outlines.

        Args:
            name: Name of their block or large component.
            boxes: (N, 4) their boxes (r0, c0, r1, c1) in the result.
            region: A box that contains them.

        Yields:
            From time to time, the number of outlined objects.
        """
        plan, xyxy = self.plan, boxes[:, [1, 0, 3, 2]].astype(np.float64)
        assigned = {
            frame: indices
            for frame, indices in assign_tiles(xyxy, plan.result.hw, region).items()
            if max(frame.hw) <= LARGEST_TILE_PX
        }
        yield 0
        answers: dict[int, Answer] = {}
        for batch in outline_boxes(plan.model, self._encoded(assigned), assigned, xyxy):
            answers.update(batch)
            yield len(answers)
        self.store.write(name, Outlines.of(answers.get(index) for index in range(len(boxes))))

    def _encoded(self, frames: Collection[Frame]) -> Iterator[Features]:
        """Yield the features of tiles in the given order, wide tiles last."""
        plan = self.plan
        # Tiles are read ahead, and wide ones at full resolution, so encode these one by one to save memory.
        narrow = [frame for frame in frames if max(frame.hw) <= SINGLE_TILE_PX]
        wide = [[frame] for frame in frames if max(frame.hw) > SINGLE_TILE_PX]
        store = plan.prompt_features.store(plan.model, plan.count_prompt_tiles)
        for group in (narrow, *wide):
            yield from plan.model.tiles.encode(plan.slide, group, store)


def _decoder_digest(model: Model) -> str:
    """Return a name for the prompt decoder of a model and the version of the computation: 16 hex digits."""
    weights = "" if model.decoder is None else digest(model.decoder.state_dict())
    return hashlib.sha256(f"{_VERSION} {weights}".encode()).hexdigest()[:16]
