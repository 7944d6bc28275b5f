"""Coordinates: frames resized and padded as in SAM, tiles that cover an image, (row, col) and (x, y)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils.transforms import ResizeLongestSide

from napari_sampath.errors import PromptError
from napari_sampath.geometry import Frame, check_inside, rc_to_xy, whole, xy_to_rc
from napari_sampath.tiling import (
    SINGLE_TILE_PX,
    SMALLEST_TILE_PX,
    high_resolution_px,
    nearest_first,
    prompt_tiles,
    tile_for,
    tiles,
    tiles_for,
)

sides = st.integers(1, 30_000)
sizes = st.tuples(sides, sides)
image_sides = st.integers(16, 6_000)


@given(hw=sizes, input_px=st.sampled_from([256, 1024]))
def test_frame_is_resized_as_sam_does(hw: tuple[int, int], input_px: int) -> None:
    expected = ResizeLongestSide.get_preprocess_shape(*hw, input_px)
    assert whole(hw, input_px).input_hw == tuple(max(1, side) for side in expected)
    assert max(expected) == input_px


@given(hw=st.tuples(st.integers(2, 5_000), st.integers(2, 5_000)), seed=st.integers(0, 99))
def test_points_are_mapped_as_sam_does(hw: tuple[int, int], seed: int) -> None:
    frame = whole(hw)
    points = np.random.default_rng(seed).uniform(0, 1, (5, 2)) * hw[::-1]
    if min(ResizeLongestSide.get_preprocess_shape(*hw, 1024)) == 0:
        return  # SAM has no input for such a strip; here it keeps one row
    np.testing.assert_array_equal(frame.to_input(points), ResizeLongestSide(1024).apply_coords(points, hw))
    np.testing.assert_allclose(frame.to_image(frame.to_input(points)), points, atol=1e-9 * max(hw))


def test_points_are_relative_to_the_window() -> None:
    frame = Frame(top=100, left=400, height=512, width=256)
    assert frame.input_hw == (1024, 512)
    np.testing.assert_array_equal(frame.to_input([[400, 100], [656, 612]]), [[0, 0], [512, 1024]])
    np.testing.assert_array_equal(frame.to_image([[0, 0], [512, 1024]]), [[400, 100], [656, 612]])
    assert frame.contains([[400, 100], [656, 612]])
    assert not frame.contains([[400, 100], [656.5, 612]])
    assert not frame.contains([399, 100])


@given(
    hw=st.tuples(image_sides, image_sides),
    tile_px=st.sampled_from([512, 1024, 2048]),
    input_px=st.sampled_from([256, 896, 1024]),
    stretched=st.booleans(),
    choice=st.integers(0, 10_000),
    shares=st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=4),
)
def test_boxes_round_trip_through_windows(
    hw: tuple[int, int],
    tile_px: int,
    input_px: int,
    stretched: bool,
    choice: int,
    shares: list[tuple[float, float, float, float]],
) -> None:
    windows = tiles(hw, tile_px)
    window = windows[choice % len(windows)]
    frame = Frame(window.top, window.left, window.height, window.width, input_px, stretched)
    corners = np.array(shares).reshape(-1, 2, 2) * [frame.width, frame.height] + [frame.left, frame.top]
    boxes = np.sort(corners, axis=1)
    there = frame.to_input(boxes)
    height, width = frame.input_hw
    assert there.min() >= 0
    assert (there <= np.array([width, height]) * (1 + 1e-12)).all(), "a prompt lies in the padding"
    assert max(height, width) == input_px
    np.testing.assert_allclose(frame.to_image(there), boxes, atol=1e-9 * max(hw))
    assert (np.diff(there, axis=1) >= 0).all(), "corners changed places"
    assert frame.contains(boxes)


@given(
    hw=st.tuples(image_sides, image_sides),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    high_resolution=st.booleans(),
)
def test_click_uses_the_nearest_encoded_tile(
    hw: tuple[int, int], x: float, y: float, high_resolution: bool
) -> None:
    place = np.array([x * hw[1], y * hw[0]])
    frames = prompt_tiles(hw, (high_resolution_px(hw) if high_resolution else None) or 1024)

    def distance(frame: Frame) -> float:
        return float(np.abs([frame.left + frame.width / 2, frame.top + frame.height / 2] - place).sum())

    chosen = tile_for(hw, place, high_resolution)
    assert chosen in frames
    assert distance(chosen) == pytest.approx(min(map(distance, frames)))


def test_rows_and_columns_are_swapped_once() -> None:
    np.testing.assert_array_equal(rc_to_xy([[1, 2], [3, 4]]), [[2, 1], [4, 3]])
    np.testing.assert_array_equal(xy_to_rc(rc_to_xy([5, 6])), [5, 6])


@given(hw=st.tuples(image_sides, image_sides), overlap=st.integers(0, 512))
def test_tiles_cover_the_image_and_overlap(hw: tuple[int, int], overlap: int) -> None:
    frames = tiles(hw, overlap_px=overlap)
    if max(hw) <= SINGLE_TILE_PX:
        assert frames == [whole(hw)]
        return
    for axis, length in enumerate(hw):
        spans = sorted({(frame.slices[axis].start, frame.slices[axis].stop) for frame in frames})
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        assert all(stop - start == min(1024, length) for start, stop in spans)
        for (_, stop), (start, _) in itertools.pairwise(spans):
            assert stop - start >= overlap
    assert len(frames) == len(set(frames))


@given(
    hw=st.tuples(image_sides, image_sides),
    corners=st.tuples(*[st.one_of(st.sampled_from([0.0, 0.01, 0.5, 1.0]), st.floats(0, 1))] * 4),
    high_resolution=st.booleans(),
)
def test_tile_for_a_prompt_contains_it_with_a_margin(
    hw: tuple[int, int], corners: tuple[float, float, float, float], high_resolution: bool
) -> None:
    points = np.array(corners).reshape(2, 2) * [hw[1], hw[0]]
    frame = tile_for(hw, points, high_resolution)
    assert frame.contains(points)
    assert frame.top + frame.height <= hw[0]
    assert frame.left + frame.width <= hw[1]
    extent = (points.max(axis=0) - points.min(axis=0)).max()
    assert frame.hw == hw or extent <= max(frame.hw) / 2
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    low, high = (
        np.array([frame.left, frame.top]),
        np.array([frame.left + frame.width, frame.top + frame.height]),
    )
    room = max(frame.hw) / 4 - 1
    assert ((middle - low >= room) | (low == 0)).all()
    assert ((high - middle >= room) | (high == [hw[1], hw[0]])).all()


@given(hw=st.tuples(image_sides, image_sides), x=st.floats(0, 1), y=st.floats(0, 1))
def test_high_resolution_tile_is_half_as_large_or_equal(hw: tuple[int, int], x: float, y: float) -> None:
    place = [(x * hw[1], y * hw[0])]
    usual, close = tile_for(hw, place), tile_for(hw, place, high_resolution=True)
    if high_resolution_px(hw) is None:
        assert max(hw) <= 2 * SMALLEST_TILE_PX
        assert close == usual
        return
    assert max(close.hw) == high_resolution_px(hw) == (max(usual.hw) + 1) // 2
    assert min(close.hw) == min(high_resolution_px(hw), *hw)
    assert tile_for(hw, [(0, 0), (hw[1], hw[0])], high_resolution=True) == tile_for(
        hw, [(0, 0), (hw[1], hw[0])]
    )


@given(
    hw=st.tuples(image_sides, image_sides),
    shares=st.tuples(*[st.floats(0, 1)] * 4),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    high_resolution=st.booleans(),
)
def test_tiles_for_points_of_a_box_are_listed_once(
    hw: tuple[int, int], shares: tuple[float, ...], at: tuple[float, float], high_resolution: bool
) -> None:
    low, high = np.sort(np.array(shares).reshape(2, 2), axis=0) * [hw[1], hw[0]]
    listed = tiles_for(hw, tuple(low), tuple(high), high_resolution)
    assert tile_for(hw, [low + (high - low) * at], high_resolution) in listed
    assert len(listed) == len(set(listed))
    assert set(listed) <= set(prompt_tiles(hw, (high_resolution_px(hw) if high_resolution else None) or 1024))


def test_tile_at_the_border_is_centred_along_it() -> None:
    frame = tile_for((6000, 6000), [(5, 3000)])
    assert frame.left == 0
    assert abs(frame.top + frame.height / 2 - 3000) <= 256


@pytest.mark.parametrize("point", [(-1, 5), (5, -0.1), (101, 5), (5, 51)])
def test_error_names_the_point_outside(point: tuple[float, float]) -> None:
    with pytest.raises(PromptError, match="outside the image of 100 x 50 px") as caught:
        check_inside((50, 100), [(3, 4), point])
    assert f"x={point[0]:g}, y={point[1]:g}" in str(caught.value)
    with pytest.raises(PromptError):
        tile_for((50, 100), [point])


def test_points_on_the_border_are_inside() -> None:
    check_inside((50, 100), [(0, 0), (100, 50)])


def test_tiles_in_view_come_first() -> None:
    frames = tiles((4000, 4000))
    ordered = nearest_first(frames, (3900, 200))
    assert sorted(map(repr, ordered)) == sorted(map(repr, frames))
    assert ordered[0].contains((200, 3900))
    distances = [
        np.hypot(frame.top + frame.height / 2 - 3900, frame.left + frame.width / 2 - 200) for frame in ordered
    ]
    assert distances == sorted(distances)
