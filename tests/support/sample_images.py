"""Sample images, and checks of converted images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sampath.images import LoadedImage

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
GREY = RGB[..., 0]
SMOOTH = np.asarray(Image.fromarray(RGB[:5, :6]).resize((60, 40)))
"""Smooth image that JPEG changes little."""


def check_sentence(text: str, name: str) -> None:
    assert name in text
    assert text.endswith(".")
    assert "\n" not in text
    assert "; " in text or ": " in text, "says what to do"
    assert len(re.sub(r"'/[^']*'", "'file'", text)) < 300


def check_image(loaded: LoadedImage, expected: npt.NDArray[np.uint8], note: str | None) -> None:
    assert loaded.pixels.dtype == np.uint8
    assert loaded.pixels.flags.c_contiguous
    np.testing.assert_array_equal(loaded.pixels, expected)
    if note is None:
        assert loaded.note is None
    else:
        assert loaded.note is not None
        assert note in loaded.note
        assert loaded.note.endswith(".")


def grey(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(values[..., None], 3, axis=2)
