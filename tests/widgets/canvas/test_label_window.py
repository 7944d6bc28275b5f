"""The part of an image that label layers hold: which one, and conversions between its pixels and those of the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_sampath.annotations import Box
from napari_sampath.arrays import LocalMask
from napari_sampath.widgets.canvas.windows.label_window import MARGIN, MAX_STEP, LabelWindow, choose_window

HW = (90, 130)


@st.composite
def windows(draw: st.DrawFn) -> LabelWindow:
    """Windows of an image of size `HW`."""
    step = draw(st.sampled_from([1, 2, 4, 8]))
    starts, shape = [], []
    for length in HW:
        count = -(-length // step)
        size = draw(st.integers(1, count))
        starts.append(draw(st.integers(0, count - size)) * step)
        shape.append(size)
    return LabelWindow(starts[0], starts[1], step, (shape[0], shape[1]), HW)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    (r0, r1), (c0, c1) = (
        sorted(draw(st.lists(st.integers(0, length), min_size=2, max_size=2, unique=True))) for length in HW
    )
    return r0, c0, r1, c1


def owners(window: LabelWindow) -> np.ndarray:
    """The window pixel of each image pixel, (H, W, 2); -1 outside of the window."""
    places = np.full((*HW, 2), -1)
    r0, c0, r1, c1 = window.box
    rows, cols = np.mgrid[r0:r1, c0:c1]
    places[r0:r1, c0:c1] = np.stack([rows - r0, cols - c0], axis=-1) // window.step
    return places


@settings(max_examples=60, deadline=None)
@given(windows(), boxes())
def test_a_box_of_image_pixels_touches_these_window_pixels(window: LabelWindow, box: Box) -> None:
    touched = owners(window)[box[0] : box[2], box[1] : box[3]]
    touched = touched[touched[..., 0] >= 0]
    part = window.part(box)
    if not len(touched):
        assert part is None
        return
    assert part == (*touched.min(axis=0), *(touched.max(axis=0) + 1))
    r0, c0, r1, c1 = window.covered(part)
    inside = np.zeros(HW, np.bool_)
    inside[r0:r1, c0:c1] = True
    shown = owners(window)
    expected = (shown >= part[:2]).all(axis=-1) & (shown < part[2:]).all(axis=-1)
    assert np.array_equal(inside, expected)
    assert window.contains(window.covered(part))


@settings(max_examples=60, deadline=None)
@given(windows(), boxes(), st.integers(0, 2**16))
def test_masks_are_converted_in_both_directions(window: LabelWindow, box: Box, seed: int) -> None:
    dense = np.zeros(HW, np.bool_)
    part = dense[box[0] : box[2], box[1] : box[3]]
    part[...] = np.random.default_rng(seed).random(part.shape) < 0.1
    expected = np.zeros(window.shape, np.bool_)
    for row, col in owners(window)[dense]:
        if row >= 0:
            expected[row, col] = True
    small = window.reduce(LocalMask(box[0], box[1], part))
    shown = np.zeros(window.shape, np.bool_)
    for row, col in np.argwhere(small.bitmap) + np.array([small.row, small.col]):
        if 0 <= row < window.shape[0] and 0 <= col < window.shape[1]:
            shown[row, col] = True
    assert np.array_equal(shown, expected)
    back = window.enlarge(expected, (0, 0, *window.shape)).to_dense(HW)
    places = owners(window)
    assert np.array_equal(back, (places[..., 0] >= 0) & expected[places[..., 0], places[..., 1]])


@settings(max_examples=60, deadline=None)
@given(windows(), windows(), st.floats(-50, 150), st.floats(-50, 150))
def test_positions_stay_where_they_are_when_the_window_moves(
    first: LabelWindow, second: LabelWindow, row: float, col: float
) -> None:
    def in_image(window: LabelWindow, place: tuple[float, float]) -> np.ndarray:
        return np.array(window.origin) + np.array(place) * window.step

    moved = first.moved(second, row, col)
    assert np.allclose(in_image(first, (row, col)), in_image(second, moved))


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(1, 120_000), st.integers(1, 120_000)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.floats(0.00005, 1),
    st.tuples(st.integers(1, 2200), st.integers(1, 3900)),
    st.sampled_from([1024, 8192]),
)
@example((1, 73_102), (0.0, 0.25), 1.0, (1, 1), 1024)
def test_the_window_holds_the_view_with_a_margin(
    hw: tuple[int, int], centre: tuple[float, float], share: float, canvas_hw: tuple[int, int], largest: int
) -> None:
    pixel = share * max(hw) / max(canvas_hw)  # image pixels per screen pixel
    spans = [
        (place * length, pixel * side / 2) for place, length, side in zip(centre, hw, canvas_hw, strict=True)
    ]
    low = [int(np.clip(middle - half, 0, length)) for (middle, half), length in zip(spans, hw, strict=True)]
    high = [
        int(np.clip(middle + half + 1, 0, length)) for (middle, half), length in zip(spans, hw, strict=True)
    ]
    view = low[0], low[1], high[0], high[1]
    window = choose_window(hw, view, canvas_hw, largest)
    if max(hw) <= largest:
        assert window == LabelWindow(0, 0, 1, hw, hw)
        assert window.whole
        return
    r0, c0, r1, c1 = window.box
    assert window.contains(view)
    assert 0 <= r0 < r1 <= hw[0]
    assert 0 <= c0 < c1 <= hw[1]
    assert r0 % window.step == c0 % window.step == 0
    assert max(window.shape) <= largest
    for start, stop, length, low_edge, high_edge in (
        (r0, r1, hw[0], low[0], high[0]),
        (c0, c1, hw[1], low[1], high[1]),
    ):
        span = high_edge - low_edge
        if window.step < MAX_STEP:  # Coarser windows would be needed for a margin.
            assert stop - start >= min(length, span * MARGIN - window.step)
    # No coarser than needed: a finer window would not hold the view.
    if window.step > 1:
        finer = window.step // 2
        sides = [min(largest, -(-1.5 * length // 256) * 256) for length in canvas_hw]
        assert any(
            min((stop - start) * MARGIN, length) > side * finer
            for start, stop, length, side in zip(view[:2], view[2:], hw, sides, strict=True)
        )


@pytest.mark.parametrize("step", [1, 2, 8])
def test_the_last_pixel_may_reach_beyond_the_image(step: int) -> None:
    window = LabelWindow(0, 0, step, (-(-HW[0] // step), -(-HW[1] // step)), HW)
    assert window.box == (0, 0, *HW)
    assert window.pixel(window.shape[0] - 1, window.shape[1] - 1) <= (HW[0] - 1, HW[1] - 1)
