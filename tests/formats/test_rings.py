from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_masks
from shapely import contains_xy
from shapely.geometry import Polygon

from napari_sampath.arrays import LocalMask
from napari_sampath.errors import DatasetError, ImageError
from napari_sampath.formats import rings
from napari_sampath.formats.run_lengths import ColumnRuns, encode_coco, unpack_coco

# pycocotools 2.0.11 converts arrays in numpy 1's way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
HW = (20, 24)

masks = st.builds(
    LocalMask,
    st.integers(0, 8),
    st.integers(0, 8),
    hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)),
)


@settings(max_examples=300, deadline=None)
@given(masks)
def test_rings_are_valid_polygons_of_the_same_pixels(mask: LocalMask) -> None:
    polygons = rings.trace(mask)
    shapes = [Polygon(outer, holes) for outer, *holes in polygons]
    for shape in shapes:
        assert shape.is_valid
        assert shape.exterior.is_ccw
        assert not any(hole.is_ccw for hole in shape.interiors)
    assert sum(shape.area for shape in shapes) == mask.area_px
    rows, cols = np.indices(HW)
    covered = np.zeros(HW, dtype=bool)
    for shape in shapes:
        covered |= contains_xy(shape, cols + 0.5, rows + 0.5)
    np.testing.assert_array_equal(covered, mask.to_dense(HW))
    np.testing.assert_array_equal(rings.fill(polygons, HW).to_dense(HW), mask.to_dense(HW))


@settings(max_examples=200, deadline=None)
@given(masks)
def test_parts_without_holes_cover_the_same_pixels_in_pycocotools(mask: LocalMask) -> None:
    parts = list(rings.without_holes(mask))
    assert sum(part.area_px for part in parts) == mask.area_px
    read = np.zeros(HW, dtype=bool)
    for part in parts:
        for polygon in rings.trace(part):
            assert len(polygon) == 1
            outline = polygon[0][:-1].astype(float).ravel().tolist()
            read |= coco_masks.decode(coco_masks.frPyObjects([outline], *HW))[..., 0].astype(bool)
    np.testing.assert_array_equal(read, mask.to_dense(HW))


coordinates = st.floats(-5, 30, allow_nan=False).map(lambda value: round(value, 3))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8))
def test_a_pixel_is_inside_if_its_centre_is(ring: list[tuple[float, float]]) -> None:
    shape = Polygon(ring)
    if not shape.is_valid or shape.area < 1e-6:
        return
    rows, cols = np.indices(HW)
    expected = contains_xy(shape, cols + 0.5, rows + 0.5)
    on_edge = contains_xy(shape.boundary.buffer(1e-9), cols + 0.5, rows + 0.5)
    read = rings.fill([[np.array(ring)]], HW).to_dense(HW)
    np.testing.assert_array_equal(read[~on_edge], expected[~on_edge])


def test_polygons_outside_the_image_or_too_large() -> None:
    assert rings.fill([]).bitmap.size == 0
    assert rings.fill([[np.array([[-9, -9], [-2, -9], [-2, -2]])]]).bitmap.size == 0
    with pytest.raises(ImageError, match="more than 1,073,741,824 px in total"):
        rings.fill([[np.array([[0, 0], [1e9, 0], [1e9, 1e9]])]])


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)))
def test_run_lengths_equal_those_of_the_coco_api(dense: np.ndarray) -> None:
    hw = dense.shape[0], dense.shape[1]
    counts = encode_coco(LocalMask.from_dense(dense), hw)
    assert (
        coco_masks.decode(coco_masks.frPyObjects({"counts": counts, "size": list(hw)}, *hw)).tolist()
        == dense.tolist()
    )
    packed = coco_masks.encode(np.asfortranarray(dense.astype(np.uint8)))["counts"].decode()
    assert unpack_coco(packed) == counts
    np.testing.assert_array_equal(ColumnRuns.parse(counts, hw).decode().to_dense(hw), dense)


def test_a_small_mask_in_a_whole_slide_is_encoded_within_its_box() -> None:
    hw = (40_000, 40_000)
    mask = LocalMask(39_000, 38_000, np.ones((20, 30), dtype=bool))
    back = ColumnRuns.parse(encode_coco(mask, hw), hw).decode()
    assert (back.row, back.col, back.bitmap.shape) == (39_000, 38_000, (20, 30))
    assert back.bitmap.all()


@pytest.mark.parametrize("text", ["é", "o", "0P"])
def test_malformed_run_length_strings_are_rejected(text: str) -> None:
    with pytest.raises(DatasetError, match="run lengths"):
        unpack_coco(text)
