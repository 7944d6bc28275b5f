"""A mask that was predicted for a prompt and is not committed yet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ...annotations import Box, bounds
from ...annotations.masks.shaping import joined
from ...arrays import BoolArray, FloatArray, LocalMask
from ...geometry import Frame
from ...predict.decoder.mask_upscaling import keep_prompted, local_mask


@dataclass(frozen=True, eq=False)
class Candidate:
    """One mask predicted for a prompt."""

    frame: Frame
    logits: FloatArray
    """(256, 256) float32, as predicted by the model."""
    score: float
    """Predicted IoU."""
    prompted_cells: BoolArray | None = None
    """(256, 256) cells under the prompt; the mask keeps only connected components with such cells. None keeps all."""
    corrected_logits: FloatArray | None = None
    """(256, 256) logits after applying the corrective points, used for the mask; None without corrections."""
    members: tuple[Candidate, ...] = ()
    """One candidate per box of a prompt with several boxes; `logits` is then their maximum, `score` the lowest."""
    step: int = 1
    """Step of the mask; on slides, that at which the tile was read."""

    @cached_property
    def mask(self) -> LocalMask:
        """The mask in image pixels."""
        if self.members:
            masks = [member.mask for member in self.members if member.mask.bitmap.size]
            return joined(masks) if masks else self.members[0].mask
        logits = self.logits if self.corrected_logits is None else self.corrected_logits
        if self.prompted_cells is not None:
            mask = local_mask(self.frame, keep_prompted(logits, self.prompted_cells), self.step)
            if mask.bitmap.size:  # A single, barely positive logit may not cover any image pixel.
                return mask
        return local_mask(self.frame, logits, self.step)

    @property
    def box(self) -> Box | None:
        """Bounding box of the mask; None if it is empty."""
        return bounds(self.mask) if self.mask.bitmap.size else None
