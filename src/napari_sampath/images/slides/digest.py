"""Identity of a slide: a digest of its structure and of bytes sampled all over it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

SAMPLES = 64
"""Number of places in level 0 that are sampled."""


def digest_of(sizes: Sequence[tuple[int, int]], samples: bytes) -> str:
    """Compute the digest of a slide, 32 hex digits.

    It does not depend on the name and folder of the file, so that a moved or renamed slide is recognised.

    Args:
        sizes: Size (H, W) of each level.
        samples: Bytes from all over the slide.
    """
    structure = json.dumps([list(hw) for hw in sizes]).encode()
    return hashlib.sha256(structure + b"\0" + samples).hexdigest()[:32]


def spread(count: int, wanted: int = SAMPLES) -> list[int]:
    """Choose up to `wanted` of the numbers 0 to `count` - 1, evenly spread."""
    if count <= wanted:
        return list(range(count))
    return sorted({round(index * (count - 1) / (wanted - 1)) for index in range(wanted)})
