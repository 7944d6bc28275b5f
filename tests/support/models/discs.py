"""Model without a network, with discs as masks and an encoder that can be slow, for tests of the docks."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sampath.arrays import LOGITS_PX, Features, Prompts
from napari_sampath.encoders import EncoderInfo
from napari_sampath.geometry import INPUT_PX
from napari_sampath.jobs import Progress
from napari_sampath.predict.decoder.mask_upscaling import mask_to_logits

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sampath.geometry import Frame
    from napari_sampath.jobs import Job

RADII = (20, 12, 6)
"""Radii of the three candidates of a point, in image pixels: whole, part, smaller part."""


class DiscModel:
    """Answers a point with discs around it, a box with the ellipse in it, a mask prompt with the mask itself.

    A negative point cuts a disc out. What it was asked is kept in `asked`.
    """

    name = "discs"
    input_px = INPUT_PX
    encoder = SimpleNamespace(info=EncoderInfo("discs", "discs", "", "", promptable=True, size_mb=0))

    def __init__(self, encode_s: float = 0.0, decode_s: float = 0.0) -> None:
        self.encode_s = encode_s
        self.decode_s = decode_s
        self.encoded: list[Frame] = []
        self.asked: list[Prompts] = []
        self.threads: set[str] = set()
        self.encoding = threading.Event()
        self.go_on = threading.Event()
        """Event that encoding and decoding wait for; a test clears it to block them."""
        self.go_on.set()

    def encode(self, image: Any, frame: Frame) -> Features:
        self.encoding.set()
        self.threads.add(threading.current_thread().name)
        time.sleep(self.encode_s)
        self._wait()
        self.encoded.append(frame)
        return Features({}, frame, self.name)

    def mask_to_logits(self, mask: Any, frame: Frame) -> np.ndarray:
        return mask_to_logits(mask, frame)

    def decode(
        self, features: Features, prompts: Prompts, multimask: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(self.decode_s)
        self._wait()
        self.asked.append(prompts)
        cells = (np.mgrid[:LOGITS_PX, :LOGITS_PX] + 0.5) * (INPUT_PX / LOGITS_PX)
        cols, rows = np.moveaxis(features.frame.to_image(np.stack(cells[::-1], axis=-1)), -1, 0)
        masks = [self._mask(rows, cols, prompts, radius) for radius in (RADII if multimask else RADII[:1])]
        logits = np.where(np.stack(masks), 8.0, -8.0).astype(np.float32)
        return logits, np.array([0.9, 0.8, 0.7][: len(masks)], dtype=np.float32)

    def decode_boxes(self, features: Features, boxes: Any) -> tuple[np.ndarray, np.ndarray]:
        each = [self.decode(features, Prompts.make(box=box), multimask=False) for box in boxes]
        return np.concatenate([logits for logits, _ in each]), np.concatenate([score for _, score in each])

    def _wait(self) -> None:
        if not self.go_on.wait(60):
            raise TimeoutError("nobody let the model go on")

    def _mask(self, rows: np.ndarray, cols: np.ndarray, prompts: Prompts, radius: int) -> np.ndarray:
        mask = np.zeros(rows.shape, dtype=bool)
        if prompts.box_xyxy is not None:
            x0, y0, x1, y1 = prompts.box_xyxy
            mask |= ((cols - (x0 + x1) / 2) / (x1 - x0)) ** 2 + (
                (rows - (y0 + y1) / 2) / (y1 - y0)
            ) ** 2 <= 0.25
        elif prompts.mask_logits is not None and len(prompts.points_xy) <= 1:
            # A mask prompt comes with one point inside it, a refinement with at least two points.
            return np.asarray(prompts.mask_logits > 0)
        for (x, y), positive in zip(prompts.points_xy, prompts.labels, strict=True):
            disc = (rows - y) ** 2 + (cols - x) ** 2 <= (radius if positive else 8) ** 2
            mask = mask | disc if positive else mask & ~disc
        return mask


def loader(model: Any) -> Callable[[Any], Job[Any]]:
    """Return a job that yields once and returns the model, for `ViewerState`."""

    def load(_choice: Any) -> Job[Any]:
        yield Progress(0, 0, "Loading discs")
        return model

    return load
