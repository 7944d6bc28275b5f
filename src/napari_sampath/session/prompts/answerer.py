"""Predict masks for the clicks and previews of a session."""

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
    """A prompt with everything that another thread needs to predict its masks."""

    generation: int
    """Number of the prompt change; answers to earlier generations are stale."""
    state: PromptState
    tiles: TileFeatures

    @property
    def frame(self) -> Frame:
        """The tile on which the masks are predicted."""
        if self.state.frame is None:
            raise PromptError("The prompt is empty; give at least one point, a box or a mask.")
        return self.state.frame


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Masks predicted for a prompt, best first."""

    generation: int
    state: PromptState
    candidates: tuple[Candidate, ...]


class Answerer:
    """Predicts masks for the previews and clicks of one session, in any thread; a click reuses a matching preview."""

    def __init__(self) -> None:
        self._preview: Answer | None = None
        self._last: Answer | None = None
        """The last answer to a click."""

    def preview(self, request: PromptRequest) -> Answer:
        """Predict masks for a preview and keep them for the click that may follow.

        Raises:
            PromptError: If the model does not support prompts.
        """
        self._preview = decode(request)
        return self._preview

    def from_preview(self, request: PromptRequest) -> Answer | None:
        """Return the masks of the latest preview for a click; None if the preview is for another prompt."""
        preview, state = self._preview, request.state
        if (
            preview is None
            or request.generation != preview.generation + 1
            or state.points != preview.state.points
            # A high-resolution tile may have become available since; logits are valid on their own tile only.
            or state.frame != preview.state.frame
            or state.boxes
            or state.mask is not None
            or state.previous_logits is not None
            or state.corrects is not None
        ):
            return None
        return Answer(request.generation, state, preview.candidates)

    def answer(self, request: PromptRequest) -> Answer:
        """Return the masks for a click, from the latest preview if possible.

        A click that corrects an unanswered prompt refines the mask that the user would have seen, so that the result
        does not depend on the speed of the model.

        Raises:
            PromptError: If the model does not support prompts, or the mask does not lie on the tile.
        """
        last, state = self._last, request.state
        if last is not None and last.state is state:
            return replace(last, generation=request.generation)
        if state.corrects is None:
            answer = self.from_preview(request) or decode(request)
        else:
            earlier, index = state.corrects
            # Usually the last answer has it, because a request that has started is always finished.
            candidates = self.answer(replace(request, state=earlier)).candidates
            logits = candidates[index % len(candidates)].logits
            whole = replace(request, state=replace(state, previous_logits=logits, corrects=None))
            answer = replace(decode(whole), state=state)
        self._last = answer
        return answer


def decode(request: PromptRequest) -> Answer:
    """Encode the tile, unless it is cached, and predict masks for the prompt.

    Raises:
        PromptError: If the model does not support prompts, or the mask does not lie on the tile.
    """
    state, model = request.state, request.tiles.model
    features = request.tiles.get(request.frame)
    frame = features.frame
    step = request.tiles.step_of(request.frame)
    if state.more_boxes:
        logits, scores = model.decode_boxes(features, state.boxes)
        members = tuple(
            Candidate(
                frame, box_logits, float(score), prompted_cells(frame, Prompts.make(box=box)), step=step
            )
            for box_logits, score, box in zip(logits, scores, state.boxes, strict=True)
        )
        candidates: tuple[Candidate, ...] = (
            Candidate(frame, logits.max(axis=0), float(scores.min()), members=members, step=step),
        )
    else:
        mask_logits = None if state.mask is None else model.mask_to_logits(state.mask, frame)
        prompts = _prompts(state, mask_logits)
        logits, scores = best_first(model, features, prompts)
        # Connected components are selected by the user's prompt alone, not by the logits fed back to the model.
        cells = prompted_cells(frame, replace(prompts, mask_logits=mask_logits))
        candidates = tuple(
            Candidate(frame, mask, float(score), cells, _corrected(mask, state, frame), step=step)
            for mask, score in zip(logits, scores, strict=True)
        )
    _ = candidates[0].mask  # Cached here, so that the GUI thread does not compute it.
    return Answer(request.generation, state, candidates)


def _prompts(state: PromptState, mask_logits: FloatArray | None) -> Prompts:
    """Convert a prompt to model input; `mask_logits` (256, 256) are the logits of the mask prompt, if any."""
    points = [(x, y) for x, y, _ in state.points]
    labels = [int(positive) for _, _, positive in state.points]
    if state.mask is not None and state.previous_logits is None and state.box is None and 1 not in labels:
        # SAM is never trained on a mask alone, so add a click at the innermost pixel of the mask.
        points.append(innermost(state.mask))
        labels.append(1)
    logits = mask_logits if state.previous_logits is None else state.previous_logits
    return Prompts.make(points, labels, state.box, logits)


def _corrected(logits: FloatArray, state: PromptState, frame: Frame) -> FloatArray | None:
    """Apply corrective points to logits (256, 256); None without corrections."""
    # Without a box or mask, the first point is the prompt itself and not a correction.
    corrections = state.points if state.box or state.mask is not None else state.points[1:]
    if not corrections:
        return None
    xy = np.array([(x, y) for x, y, _ in corrections])
    return corrected(logits, xy, np.array([int(positive) for _, _, positive in corrections]), frame)
