"""Clicks in the 2D annotator of micro-sam, if it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from .windows import TimedViewer


class MicroSamViewer(TimedViewer):
    """Viewer with micro-sam's dock and an image encoded without tiles, which is micro-sam's default.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        weights: File of a ViT-B in SAM's format.
    """

    def __init__(self, pixels: np.ndarray, weights: Path) -> None:
        self._weights = weights
        super().__init__(pixels)
        self.points = self.viewer.layers["point_prompts"]
        self.viewer.layers.selection.active = self.points
        self.points.mode = "add"
        self.settle()

    def open(self, pixels: np.ndarray) -> Any:
        """Open the annotator, which encodes the image and adds its layer."""
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
        """Click on an image pixel and press S, which requests the mask; return the seconds until it is painted."""
        self.driver.move(x, y)
        self.driver.native.setFocus()
        self.wait()
        layer = self.viewer.layers["current_object"]
        before = layer.data
        click = self.click_at(x, y)

        def click_and_request() -> None:
            click()
            QTest.keyClick(self.driver.native, Qt.Key.Key_S)

        seconds = self.until_painted(click_and_request, lambda: layer.data is not before)
        if len(self.points.data) != 1 or not layer.data.any():
            raise AssertionError("The click produced no mask.")
        QTest.keyClick(self.driver.native, Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
        self.wait()
        return seconds


def vit_b_file(path: Path) -> Path:
    """Write a ViT-B in SAM's format with the decoder of `build_tiny_sam`."""
    import torch
    from segment_anything import build_sam_vit_b

    from ..tiny_sam import build_tiny_sam

    parts = {k: v for k, v in build_tiny_sam().state_dict().items() if not k.startswith("image_encoder.")}
    state = build_sam_vit_b().state_dict()
    torch.save(state | {name: value for name, value in parts.items() if name in state}, path)
    return path
