"""Image files and annotations for tests of projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


def noise(seed: int, hw: tuple[int, int] = (40, 50)) -> np.ndarray:
    """Return (H, W, 3) uint8 pixels that differ for each seed."""
    return np.random.default_rng(seed).integers(0, 255, (*hw, 3), dtype=np.uint8)


def image_file(folder: Path, name: str, seed: int) -> Path:
    """Save an image of noise and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    Image.fromarray(noise(seed)).save(path)
    return path


def square(session: Any, row: int, class_id: int = 1) -> None:
    """Paint a square of 5 x 5 px whose first pixel is (row, row)."""
    session.paint(*np.indices((5, 5)).reshape(2, -1) + row, class_id)
