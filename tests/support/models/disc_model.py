"""Model that answers prompts with discs, for tests of the rules of a session."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sampath.arrays import LOGITS_PX, Features, Prompts
from napari_sampath.geometry import INPUT_PX
from napari_sampath.predict.decoder.mask_upscaling import mask_to_logits

if TYPE_CHECKING:
    from napari_sampath.arrays import BoolArray, FloatArray, LocalMask, UInt8Array
    from napari_sampath.geometry import Frame

RADII_PX = (4.0, 12.0, 8.0)
SCORES = (0.5, 0.9, 0.7)
"""The largest disc is the best candidate, the smallest the worst."""


@dataclass
class DiscModel:
    """Answers a single point with three discs, and other prompts with one disc of 12 px."""

    name: str = "discs"
    input_px: int = INPUT_PX
    encoded: list[Frame] = field(default_factory=list)
    asked: list[tuple[Prompts, bool]] = field(default_factory=list)
    gate: threading.Event | None = None
    """Event that encoding waits for, if it is not None."""
    as_seen: bool = False
    """Whether the radii are pixels of the encoder's input, so that the discs grow with the tile."""

    def encode(self, image: UInt8Array, frame: Frame) -> Features:
        self.encoded.append(frame)
        if self.gate is not None:
            self.gate.wait(10)
        return Features({}, frame, self.name)

    def decode(
        self, features: Features, prompts: Prompts, multimask: bool = True
    ) -> tuple[FloatArray, FloatArray]:
        self.asked.append((prompts, multimask))
        frame = features.frame
        if len(prompts.points_xy):
            centre = prompts.points_xy[0]
        elif prompts.box_xyxy is not None:
            centre = prompts.box_xyxy.reshape(2, 2).mean(axis=0)
        else:
            rows, cols = np.nonzero(np.asarray(prompts.mask_logits) > 0)
            centre = frame.to_image((np.array([cols.mean(), rows.mean()]) + 0.5) * INPUT_PX / LOGITS_PX)
        x, y = frame.to_input(centre) * LOGITS_PX / INPUT_PX
        scale = LOGITS_PX / (INPUT_PX if self.as_seen else max(frame.hw))
        rows, cols = np.ogrid[:LOGITS_PX, :LOGITS_PX]
        distance = np.sqrt((rows + 0.5 - y) ** 2 + (cols + 0.5 - x) ** 2)
        chosen = range(3) if multimask else [1]
        logits = np.stack([RADII_PX[k] * scale - distance for k in chosen])
        return logits.astype(np.float32), np.array([SCORES[k] for k in chosen], dtype=np.float32)

    def mask_to_logits(self, mask: BoolArray | LocalMask, frame: Frame) -> FloatArray:
        return mask_to_logits(mask, frame)


def disc_model(**options: Any) -> Any:
    """Build a `DiscModel` with the type `Model`."""
    return DiscModel(**options)
