"""Requests for masks, and the answerer that serves clicks and previews with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...annotations import innermost
from ...arrays import FloatArray, Prompts
from ...errors import PromptError
from ...geometry import Frame
from ...predict.decoder.candidates import best_first, corrected
from ...predict.decoder.mask_upscaling import prompted_cells
from .candidate import Candidate
from .prompt_state import PromptState
from .tile_cache import TileFeatures


@dataclass(frozen=True, slots=True, eq=False)
class PromptRequest:
    """A prompt with everything that another thread needs to answer it."""

    generation: int
    state: PromptState
    tiles: TileFeatures

    @property
    def frame(self) -> Frame:
        """The tile on which the prompt is answered."""
        if self.state.frame is None:
            raise PromptError("The prompt is empty; give at least one point, a box or a mask.")
        return self.state.frame


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Candidates for a prompt, best first."""

    generation: int
    state: PromptState
    candidates: tuple[Candidate, ...]


class Answerer:
    """Answers the previews and clicks of one session; a click reuses a matching preview. For any thread."""

    def __init__(self) -> None:
        self._preview: Answer | None = None

    def preview(self, request: PromptRequest) -> Answer:
        """Answer the request of a preview and keep the answer for the click that may follow.

        Raises:
            PromptError: If the model does not answer prompts.
        """
        self._preview = decode(request)
        return self._preview

    def from_preview(self, request: PromptRequest) -> Answer | None:
        """Return the newest preview as the answer to a click; None if it shows another prompt."""
        preview, state = self._preview, request.state
        if (
            preview is None
            or request.generation != preview.generation + 1
            or state.points != preview.state.points
            # A high-resolution tile may have become available in between; logits belong to one tile.
            or state.frame != preview.state.frame
            or state.boxes
            or state.mask is not None
            or state.previous_logits is not None
        ):
            return None
        return Answer(request.generation, state, preview.candidates)

    def answer(self, request: PromptRequest) -> Answer:
        """Answer a click, from the newest preview if possible.

        Raises:
            PromptError: If the model does not answer prompts, or the mask does not lie on the tile.
        """
        return self.from_preview(request) or decode(request)


def decode(request: PromptRequest) -> Answer:
    """Encode the tile, unless it is cached, and decode the prompt.

    Raises:
        PromptError: If the model does not answer prompts, or the mask does not lie on the tile.
    """
    state, model = request.state, request.tiles.model
    features = request.tiles.get(request.frame)
    frame = features.frame
    if state.more_boxes:
        logits, scores = model.decode_boxes(features, state.boxes)
        members = tuple(
            Candidate(frame, box_logits, float(score), prompted_cells(frame, Prompts.make(box=box)))
            for box_logits, score, box in zip(logits, scores, state.boxes, strict=True)
        )
        candidates: tuple[Candidate, ...] = (
            Candidate(frame, logits.max(axis=0), float(scores.min()), members=members),
        )
    else:
        mask_logits = None if state.mask is None else model.mask_to_logits(state.mask, frame)
        prompts = _prompts(state, mask_logits)
        logits, scores = best_first(model, features, prompts)
        # The connected components to keep follow from the user's prompt alone, not from the fed-back logits.
        cells = prompted_cells(frame, replace(prompts, mask_logits=mask_logits))
        candidates = tuple(
            Candidate(frame, mask, float(score), cells, _corrected(mask, state, frame))
            for mask, score in zip(logits, scores, strict=True)
        )
    _ = candidates[0].mask  # Computed here, so that the GUI thread need not.
    return Answer(request.generation, state, candidates)


def _prompts(state: PromptState, mask_logits: FloatArray | None) -> Prompts:
    """Convert a prompt to the input of the model; `mask_logits` (256, 256) is the mask prompt, if any."""
    points = [(x, y) for x, y, _ in state.points]
    labels = [int(positive) for _, _, positive in state.points]
    if state.mask is not None and state.previous_logits is None and state.box is None and 1 not in labels:
        # SAM is never trained on a mask alone, so add the click that the mask could have come from.
        points.append(innermost(state.mask))
        labels.append(1)
    logits = mask_logits if state.previous_logits is None else state.previous_logits
    return Prompts.make(points, labels, state.box, logits)


def _corrected(logits: FloatArray, state: PromptState, frame: Frame) -> FloatArray | None:
    """Apply corrective points to logits (256, 256); None without corrections."""
    # A first point without box and mask is the prompt itself.
    corrections = state.points if state.box or state.mask is not None else state.points[1:]
    if not corrections:
        return None
    xy = np.array([(x, y) for x, y, _ in corrections])
    return corrected(logits, xy, np.array([int(positive) for _, _, positive in corrections]), frame)
