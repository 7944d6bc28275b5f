"""The 2D annotator of micro-sam, clicked in as a person does; for an environment that has it beside this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from .windows import Clock


class MicroSam(Clock):
    """A viewer with micro-sam's dock on an image that it has encoded as a whole, as it does if not told to tile.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        weights: File in SAM's format, of a ViT-B.
    """

    def __init__(self, pixels: np.ndarray, weights: Path) -> None:
        self._weights = weights
        super().__init__(pixels)
        self.points = self.viewer.layers["point_prompts"]
        self.viewer.layers.selection.active = self.points
        self.points.mode = "add"
        self.settle()

    def open(self, pixels: np.ndarray) -> Any:
        """Have the annotator encode and add the image."""
        from micro_sam.sam_annotator import annotator_2d

        annotator_2d(
            pixels,
            model_type="vit_b",
            checkpoint_path=str(self._weights),
            device="cpu",
            viewer=self.viewer,
            return_viewer=True,
        )
        return self.viewer.layers["image"]

    def time_click(self, x: float, y: float) -> float:
        """Click on an image pixel and press S, which asks for the mask; return the seconds until it is painted."""
        self.driver.move(x, y)
        self.driver.native.setFocus()
        self.rest()
        shown = self.viewer.layers["current_object"]
        before = shown.data

        click = self.click_at(x, y)

        def ask() -> None:
            click()
            QTest.keyClick(self.driver.native, Qt.Key.Key_S)

        seconds = self.until_painted(ask, lambda: shown.data is not before)
        if len(self.points.data) != 1 or not shown.data.any():
            raise AssertionError("The click was not answered.")
        QTest.keyClick(self.driver.native, Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
        self.rest()
        return seconds


def vit_b_file(path: Path) -> Path:
    """Write a ViT-B in SAM's format with the decoder of `models.random_sam`."""
    import torch
    from segment_anything import build_sam_vit_b

    from ..models import random_sam

    parts = {k: v for k, v in random_sam().state_dict().items() if not k.startswith("image_encoder.")}
    state = build_sam_vit_b().state_dict()
    torch.save(state | {name: value for name, value in parts.items() if name in state}, path)
    return path
