"""Distances inside a mask."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt

from napari_sampath.annotations.masks.masks import depth

bitmaps = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda hw: arrays(np.bool_, hw, elements=st.booleans())
)


@given(bitmaps)
def test_depth_is_the_distance_to_the_nearest_pixel_outside(bitmap: np.ndarray) -> None:
    whole = distance_transform_edt(np.pad(bitmap, 1))[1:-1, 1:-1]
    np.testing.assert_array_equal(depth(bitmap), whole)
