from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sampath.errors import ImageError
from napari_sampath.images import to_loaded_image
from napari_sampath.rasters import MAX_PIXELS
from support.sample_images import GREY, RGB, RNG, check_image, check_sentence, grey

if TYPE_CHECKING:
    import numpy.typing as npt


def check_rejected(array: Any, match: str, name: str = "slide 7") -> None:
    with pytest.raises(ImageError, match=match) as caught:
        to_loaded_image(array, name)
    check_sentence(str(caught.value), name)


def test_rgb_is_used_without_a_copy() -> None:
    loaded = to_loaded_image(RGB, "a")
    check_image(loaded, RGB, None)
    assert (loaded.name, loaded.mpp) == ("a", None)
    assert np.shares_memory(loaded.pixels, RGB)


@pytest.mark.parametrize(
    ("array", "expected", "note"),
    [
        (GREY, grey(GREY), "one channel was repeated as grey"),
        (GREY[..., None], grey(GREY), "one channel was repeated as grey"),
        (GREY[None], grey(GREY), "(1, 40, 60) was taken as channels first; one channel"),
        (np.dstack([RGB, GREY]), RGB, "the alpha channel was dropped"),
        (np.moveaxis(RGB, -1, 0), RGB, "(3, 40, 60) was taken as channels first"),
        (np.moveaxis(np.dstack([RGB, GREY]), -1, 0), RGB, "channels first; the alpha channel was dropped"),
        (np.asfortranarray(RGB), RGB, None),
        (RGB[::-1, ::2], RGB[::-1, ::2], None),
        (RGB.tolist(), RGB, "taken as 0..255"),
        (GREY > 99, grey((GREY > 99).astype(np.uint8) * 255), "false and true were mapped to 0 and 255"),
        (RGB / 255, RGB, "float64 values from 0 to 1 were scaled from 0..1 to 0..255"),
        ((RGB / 255).astype(np.float16), RGB, "float16 values from 0 to 1 were scaled from 0..1"),
        (RGB.astype(np.float32), RGB, "float32 values from 0 to 255 were taken as 0..255"),
        (RGB.astype(np.int64), RGB, "int64 values from 0 to 255 were taken as 0..255"),
        (RGB.astype(np.uint16) * 257, RGB, "uint16 values from 0 to 65535 were scaled from 0..65535"),
        ((RGB.astype(np.uint16) * 257).astype(">u2"), RGB, "scaled from 0..65535"),
        (
            RGB.astype(np.uint32) * 16843009,
            RGB,
            "uint32 values from 0 to 4.29497e+09 were scaled from 0..4294967295",
        ),
        (RGB.astype(np.uint16) * 16 + 15, RGB, "uint16 values from 15 to 4095 were stretched to 0..255"),
        (RGB.astype(np.int16) - 128, RGB, "int16 values from -128 to 127 were stretched to 0..255"),
        (RGB / 51 - 7.0, RGB, "float64 values from -7 to -2 were stretched to 0..255"),
        ((RGB / 255 * 2 - 1) * 1.7e308, RGB, "were stretched to 0..255"),
    ],
)
def test_arrays_are_converted_to_rgb(array: Any, expected: npt.NDArray[np.uint8], note: str | None) -> None:
    check_image(to_loaded_image(array), expected, note)


@given(
    values=hnp.arrays(
        dtype=st.sampled_from([np.uint8, np.uint16, np.int16, np.int32, np.uint64, np.float32, np.float64]),
        shape=st.tuples(st.integers(16, 20), st.integers(16, 20)),
        fill=st.just(0),
    )
)
@settings(max_examples=150, deadline=None)
def test_scaling_keeps_the_order_of_values(values: npt.NDArray[Any]) -> None:
    """Scaling may merge values, but never swaps or wraps them; other arrays raise one sentence."""
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            loaded = to_loaded_image(values, "slide 7")
    except ImageError as error:
        check_sentence(str(error), "slide 7")
        return
    assert np.isfinite(values).all()
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(loaded.pixels[..., 0].ravel()[order].astype(int)) >= 0).all()
    assert loaded.pixels.min() < loaded.pixels.max()


def test_a_wide_image_is_accepted_with_a_note() -> None:
    wide = np.resize(RGB, (20, 20_000, 3))
    check_image(to_loaded_image(wide), wide, "its 20000 x 20 px (width x height) are encoded tile by tile")


def test_large_scaling_works_in_blocks() -> None:
    large = RNG.integers(0, 65536, (3000, 3000), dtype=np.uint16)
    loaded = to_loaded_image(large)
    np.testing.assert_array_equal(loaded.pixels[..., 1], np.rint(large / 257).astype(np.uint8))


@pytest.mark.parametrize("side", [1536, 1537])
def test_note_on_tiling_above_1536_px(side: int) -> None:
    note = to_loaded_image(np.resize(RGB, (side, 20, 3))).note
    assert (note is not None) == (side > 1536)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((40, 60, 2), np.uint8), r"has 2 channels \(shape \(40, 60, 2\)\); the shape must be"),
        (np.zeros((2, 40, 60), np.uint8), "has 2 channels"),
        (np.zeros((40, 60, 5), np.uint8), "has 5 channels"),
        (np.zeros((7, 40, 60), np.uint8), "60 channels"),
        (np.zeros(60, np.uint8), r"has 1 dimensions \(shape \(60\)\)"),
        (np.zeros((1, 40, 60, 3), np.uint8), "has 4 dimensions"),
        (np.uint8(7), "has 0 dimensions"),
        (np.zeros((0, 60, 3), np.uint8), r"is empty \(shape \(0, 60, 3\)\)"),
        (np.zeros((40, 60, 0), np.uint8), "is empty"),
        ([], "is empty"),
        (RGB[:, :3], "is 3 x 40 px .* minimum is 16 x 16 px"),
        (RGB[:15], "is 60 x 15 px"),
        (np.moveaxis(RGB[:3], -1, 0), "is 60 x 3 px"),
        (np.zeros((40, 60, 3), np.uint8), "same value, 0, 0, 0; choose another"),
        (np.full((40, 60, 3), (200, 100, 150), np.uint8), "same value, 200, 100, 150"),
        (np.full((40, 60), 1000, np.uint16), "same value, 0 after scaling"),
        (np.full((40, 60), 0.5), r"same value, 128 after scaling"),
        (np.where(GREY > 200, np.nan, GREY), "not finite"),
        (np.where(GREY > 200, np.inf, GREY), "not finite"),
        (RGB.astype(complex), "type complex128; convert it"),
        (np.full((40, 60), "a"), "type <U1"),
        (np.full((40, 60), None), "type object"),
        ([[1, 2], [3]], "is not an array of numbers"),
        (None, "0 dimensions|type object"),
        ("file.png", "0 dimensions|type <U"),
    ],
)
def test_invalid_arrays_are_rejected(array: Any, match: str) -> None:
    check_rejected(array, match)


def test_lazy_arrays_are_computed() -> None:
    dask_array = pytest.importorskip("dask.array")
    check_image(to_loaded_image(dask_array.from_array(RGB, chunks=(16, 16, 3))), RGB, None)


def test_a_too_large_lazy_array_is_rejected_before_it_is_computed() -> None:
    dask_array = pytest.importorskip("dask.array")
    side = int(MAX_PIXELS**0.5) + 1
    check_rejected(
        dask_array.zeros((side, side, 3), dtype=np.uint8, chunks=1024), "more than 1,073,741,824 px"
    )


def test_a_failing_lazy_array_raises_one_sentence() -> None:
    dask_array = pytest.importorskip("dask.array")

    def fail(block: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        raise OSError("chunk 3 is gone")

    array = dask_array.from_array(RGB, chunks=40).map_blocks(
        fail, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    check_rejected(array, "chunk 3 is gone")
