from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sampath.geometry import Frame
from napari_sampath.store import FeatureKey

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
KEY = FeatureKey.of(PIXELS, Frame(0, 0, 40, 60), "vit_b", "0123", "float32", 1)


def test_key_is_the_same_in_every_process() -> None:
    program = (
        "import numpy as np; from napari_sampath.geometry import Frame;"
        "from napari_sampath.store import FeatureKey;"
        "pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8);"
        "print(FeatureKey.of(pixels, Frame(0, 0, 40, 60), 'vit_b', '0123', 'float32', 1).digest)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == KEY.digest
    assert len(KEY.digest) == 64


def test_key_ignores_where_the_window_lies_and_how_it_lies_in_memory() -> None:
    large = np.zeros((100, 100, 3), dtype=np.uint8)
    large[7:47, 11:71] = PIXELS
    frame = Frame(7, 11, 40, 60)
    assert FeatureKey.of(large[frame.slices], frame, "vit_b", "0123", "float32", 1) == KEY
    assert FeatureKey.of(np.asfortranarray(PIXELS), Frame(0, 0, 40, 60), "vit_b", "0123", "float32", 1) == KEY


@given(row=st.integers(0, 39), col=st.integers(0, 59), channel=st.integers(0, 2), change=st.integers(1, 255))
def test_key_sees_one_changed_pixel(row: int, col: int, channel: int, change: int) -> None:
    pixels = PIXELS.copy()
    pixels[row, col, channel] ^= np.uint8(change)
    assert FeatureKey.of(pixels, Frame(0, 0, 40, 60), "vit_b", "0123", "float32", 1).digest != KEY.digest


def test_key_sees_shape_and_everything_else() -> None:
    turned = PIXELS.reshape(60, 40, 3)
    others = [
        FeatureKey.of(turned, Frame(0, 0, 60, 40), "vit_b", "0123", "float32", 1),
        FeatureKey.of(PIXELS, Frame(0, 0, 40, 60, 896), "vit_b", "0123", "float32", 1),
        FeatureKey.of(PIXELS.view(np.int8), Frame(0, 0, 40, 60), "vit_b", "0123", "float32", 1),  # type: ignore[arg-type]
        replace(KEY, encoder="vit_l"),
        replace(KEY, weights="0124"),
        replace(KEY, precision="bfloat16"),
        replace(KEY, preprocessing=2),
        replace(KEY, encoder="vit_b0", weights="123"),
    ]
    assert len({KEY.digest, *(key.digest for key in others)}) == 9


def test_key_refuses_the_whole_image_with_the_frame_of_a_window() -> None:
    with pytest.raises(ValueError, match="pass the pixels of the window"):
        FeatureKey.of(PIXELS, Frame(0, 0, 20, 20), "vit_b", "0123", "float32", 1)
