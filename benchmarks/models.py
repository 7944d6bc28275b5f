"""What benchmarks run on: SAM's full-size decoder with random weights, and painted tissue.

Random weights are as fast as trained ones, and harder on masks: theirs are specks all over the image, so
that a bounding box saves nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from segment_anything import SamPredictor
    from segment_anything.modeling import Sam

    from napari_sampath.arrays import Features
    from napari_sampath.predict import Model
    from napari_sampath.store import Store

TESTS = Path(__file__).resolve().parent.parent / "tests"


def random_sam() -> Sam:
    """Build SAM with random weights: decoder of the full size, small encoder."""
    _find_tests()
    from support.models.tiny_sam import build_tiny_sam

    return build_tiny_sam()


def random_model(store: Store | None = None) -> Model:
    """Build a model of the weights of `random_sam`, on the CPU."""
    _find_tests()
    from support.models.tiny_sam import tiny_model

    return tiny_model(store)


def load(name: str) -> Model:
    """Load a model on the CPU: an encoder's name, or "random"."""
    if name == "random":
        return random_model()
    from napari_sampath import load_model

    return load_model(name, device="cpu")


def opened(side_px: int) -> tuple[Features, SamPredictor]:
    """Give both sides the same random embedding of an image of side_px x side_px, without an encoder run."""
    import torch
    from segment_anything import SamPredictor

    from napari_sampath.arrays import Features
    from napari_sampath.geometry import whole

    embedding = 0.3 * torch.randn(256, 64, 64, generator=torch.Generator().manual_seed(0))
    frame = whole((side_px, side_px))
    predictor = SamPredictor(random_sam())
    predictor.features = embedding[None]
    predictor.original_size, predictor.input_size = frame.hw, frame.input_hw
    predictor.is_image_set = True
    return Features({"embedding": embedding}, frame, "random"), predictor


def tissue(side: int) -> np.ndarray:
    """Paint (side, side, 3) uint8: some hundred purple nuclei of 12 to 40 px on pink."""
    rng = np.random.default_rng(0)
    image = np.full((side, side, 3), (228, 182, 209), dtype=np.float32)
    image += rng.normal(0, 6, image.shape)
    rows, cols = np.mgrid[:side, :side]
    for _ in range(max(4, side * side // 7000)):
        row, col = rng.uniform(0, side, 2)
        a, b = rng.uniform(6, 20, 2)
        angle = rng.uniform(0, np.pi)
        u = (rows - row) * np.cos(angle) + (cols - col) * np.sin(angle)
        v = (cols - col) * np.cos(angle) - (rows - row) * np.sin(angle)
        image[(u / a) ** 2 + (v / b) ** 2 < 1] = np.array([104, 70, 150]) + rng.normal(0, 12, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def _find_tests() -> None:
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
