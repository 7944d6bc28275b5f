"""Models and images for benchmarks: SAM's full-size decoder with random weights, and synthetic tissue.

Random weights take as long as trained weights. Their masks are specks all over the image, the worst case for code that
works on bounding boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .tiny_sam import build_tiny_sam, tiny_model

if TYPE_CHECKING:
    from segment_anything import SamPredictor

    from napari_sampath.arrays import Features
    from napari_sampath.predict import Model


def load(name: str) -> Model:
    """Load a model on the CPU: the name of an encoder, or "random" for `tiny_model`."""
    if name == "random":
        return tiny_model()
    from napari_sampath import load_model

    return load_model(name, device="cpu")


def shared_embedding(side_px: int) -> tuple[Features, SamPredictor]:
    """Return features and a `SamPredictor` with the same random embedding of an image of side_px x side_px."""
    import torch
    from segment_anything import SamPredictor

    from napari_sampath.arrays import Features
    from napari_sampath.geometry import whole

    embedding = 0.3 * torch.randn(256, 64, 64, generator=torch.Generator().manual_seed(0))
    frame = whole((side_px, side_px))
    predictor = SamPredictor(build_tiny_sam())
    predictor.features = embedding[None]
    predictor.original_size, predictor.input_size = frame.hw, frame.input_hw
    predictor.is_image_set = True
    return Features({"embedding": embedding}, frame, "random"), predictor


def tissue(side: int) -> np.ndarray:
    """Generate synthetic tissue (side, side, 3) uint8: purple nuclei of 12 to 40 px on pink, one per 7,000 px."""
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
