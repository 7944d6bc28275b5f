"""Pixels and checks that the tests of images share."""

from __future__ import annotations

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
"""Survives JPEG."""


def check_sentence(text: str, name: str) -> None:
    assert name in text
    assert text.endswith(".")
    assert "\n" not in text
    assert "; " in text or ": " in text, "says what to do"
    assert len(text) < 300


def check_image(picture: LoadedImage, expected: npt.NDArray[np.uint8], note: str | None) -> None:
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.c_contiguous
    np.testing.assert_array_equal(picture.pixels, expected)
    if note is None:
        assert picture.note is None
    else:
        assert picture.note is not None
        assert note in picture.note
        assert picture.note.endswith(".")


def grey(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(values[..., None], 3, axis=2)
