"""Parts of windows, in groups that are decoded together."""

from __future__ import annotations

import numpy as np

from .config import PromptTuningConfig
from .windows import TOKEN_CELLS, TOKEN_PX, Window, sample_part

Part = tuple[int, Window, tuple[int, int]]
"""Number of a window, a part of it with objects, and the position (row, col) of the part in the window, in tokens."""


def group_parts(
    crops: list[Part], config: PromptTuningConfig, clip: bool, rng: np.random.Generator
) -> dict[tuple[int, str], list[Part]]:
    """Group parts by side in tokens and by the kind of the first prompts, for decoding together."""
    groups: dict[tuple[int, str], list[Part]] = {}
    for crop in crops:
        kind = "point" if rng.random() < config.point_share else "box"
        if clip and rng.random() < config.clip_share:
            kind = "clip"
        if crop[1].prompted:
            groups.setdefault((crop[1].instances.shape[0] // TOKEN_CELLS, kind), []).append(crop)
    return groups


def sample_parts(
    window: Window, parts: int, part_px: int, rng: np.random.Generator
) -> list[tuple[Window, tuple[int, int]]]:
    """Sample the parts of a window to decode, each with its position (row, col) in the window, in tokens.

    If `parts` is 0, the only part is the whole window.
    """
    if not parts or not window.prompted:
        return [(window, (0, 0))]
    return [sample_part(window, part_px // TOKEN_PX, rng) for _ in range(parts)]
