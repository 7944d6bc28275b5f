"""Masks at image resolution equal those of SAM, with memory proportional to the object."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import Sam
from skimage.morphology import reconstruction

from napari_sampath.arrays import LocalMask
from napari_sampath.errors import PromptError
from napari_sampath.geometry import Frame, whole
from napari_sampath.predict.decoder.mask_upscaling import (
    full_masks,
    image_logits,
    interpolation_matrix,
    keep_prompted,
    local_mask,
    mask_to_logits,
)

MB = 2**20


def sams_logits(logits: np.ndarray, frame: Frame) -> np.ndarray:
    """Enlarge (M, 256, 256) logits with SAM's own code."""
    sam = SimpleNamespace(image_encoder=SimpleNamespace(img_size=frame.input_px))
    enlarged = Sam.postprocess_masks(sam, torch.from_numpy(logits)[None], frame.input_hw, frame.hw)
    return enlarged[0].numpy()


def smooth_logits(seed: int, spread: float, level: float, count: int = 1) -> np.ndarray:
    """Blobs of about `spread` cells, like a decoder's logits; fewer blobs with a higher `level`."""
    rng = np.random.default_rng(seed)
    side = max(2, round(256 / spread))
    coarse = torch.from_numpy(rng.normal(0, 8, (1, count, side, side)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, (256, 256), mode="bicubic")[0].numpy()
    return fine - np.float32(level)


def assert_equal_except_ties(mask: np.ndarray, enlarged: np.ndarray) -> None:
    different = mask != (enlarged > 0)
    assert np.abs(enlarged[different]).max(initial=0) < 1e-4
    assert different.sum() <= 1 + 1e-4 * different.size


@settings(max_examples=60, deadline=None)
@given(
    hw=st.one_of(
        st.tuples(st.integers(16, 2_200), st.integers(16, 2_200)),
        st.sampled_from([(1024, 1024), (256, 256), (512, 512), (1536, 1024), (17, 1024), (1000, 3)]),
    ),
    seed=st.integers(0, 999),
    spread=st.floats(1, 100),
    level=st.floats(-5, 20),
)
def test_masks_equal_sams(hw: tuple[int, int], seed: int, spread: float, level: float) -> None:
    frame = whole(hw)
    logits = smooth_logits(seed, spread, level)
    enlarged = sams_logits(logits, frame)
    np.testing.assert_allclose(image_logits(frame, logits[0]), enlarged[0], atol=1e-4)
    local = local_mask(frame, logits[0])
    assert_equal_except_ties(local.to_dense(hw), enlarged[0])
    np.testing.assert_array_equal(full_masks(frame, logits)[0], local.to_dense(hw))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    level=st.floats(0, 25),
    hw=st.tuples(st.integers(50, 1500), st.integers(50, 1500)),
)
def test_bitmap_is_cropped_to_the_mask(seed: int, level: float, hw: tuple[int, int]) -> None:
    local = local_mask(whole(hw), smooth_logits(seed, 12, level)[0])
    if local.bitmap.size:
        edges = local.bitmap[0], local.bitmap[-1], local.bitmap[:, 0], local.bitmap[:, -1]
        assert all(edge.any() for edge in edges)
    assert local.bitmap.flags["C_CONTIGUOUS"]


def test_square_input_of_another_size() -> None:
    frame = whole((180, 300), input_px=256)
    logits = smooth_logits(3, 8, 2)[:, ::4, ::4].copy()
    enlarged = sams_logits(logits, frame)[0]
    assert_equal_except_ties(local_mask(frame, logits[0]).to_dense(frame.hw), enlarged)


def test_mask_of_a_window_is_in_image_coordinates() -> None:
    frame = Frame(top=700, left=1300, height=512, width=640)
    logits = smooth_logits(5, 20, 6)
    dense = local_mask(frame, logits[0]).to_dense((2000, 2500))
    assert dense.any()
    assert_equal_except_ties(dense[frame.slices], sams_logits(logits, frame)[0])
    dense[frame.slices] = False
    assert not dense.any()


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_logits_without_positive_values_give_an_empty_mask(value: float) -> None:
    local = local_mask(whole((300, 200)), np.full((256, 256), value, dtype=np.float32))
    assert local.bitmap.shape == (0, 0)
    assert local.area_px == 0
    assert not local.to_dense((300, 200)).any()


def test_positive_cells_in_the_padding_are_ignored() -> None:
    logits = np.full((256, 256), -1, dtype=np.float32)
    logits[200:, :] = 5
    assert local_mask(whole((300, 600)), logits).area_px == 0


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999), spread=st.floats(2, 60), cells=st.lists(st.integers(0, 256**2 - 1), max_size=4)
)
def test_components_without_prompt_become_background(seed: int, spread: float, cells: list[int]) -> None:
    (logits,) = smooth_logits(seed, spread, 4.0)
    prompted = np.zeros((256, 256), dtype=bool)
    prompted.flat[cells] = True
    result = keep_prompted(logits, prompted)
    assert np.array_equal(np.abs(result), np.abs(logits))
    grown = reconstruction(prompted & (logits > 0), logits > 0, footprint=np.ones((3, 3))) > 0
    assert np.array_equal(result > 0, grown if grown.any() else logits > 0)


def test_part_of_the_enlarged_logits() -> None:
    frame = whole((700, 900))
    logits = smooth_logits(1, 10, 0)[0]
    part = image_logits(frame, logits, slice(100, 250), slice(600, 900))
    np.testing.assert_array_equal(part, image_logits(frame, logits)[100:250, 600:900])


@given(frame=st.builds(whole, st.tuples(st.integers(1, 5000), st.integers(1, 5000))), axis=st.integers(0, 1))
def test_interpolation_is_local_and_preserves_constants(frame: Frame, axis: int) -> None:
    matrix = interpolation_matrix(frame, axis)
    assert matrix.shape == (frame.hw[axis], 256)
    assert np.diff(matrix.indptr).max() <= 4
    assert matrix.data.min() > 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    assert interpolation_matrix(frame, axis) is matrix


def peak_bytes(frame: Frame, logits: np.ndarray) -> tuple[LocalMask, int]:
    tracemalloc.start()
    try:
        local = local_mask(frame, logits)
        return local, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_depends_on_the_object_not_the_image() -> None:
    logits = np.full((256, 256), -5, dtype=np.float32)
    logits[100:110, 30:60] = 5
    local, peak = peak_bytes(whole((20_000, 20_000)), logits)
    assert 700 * 2300 < local.area_px < 900 * 2500
    assert peak < 32 * MB


def test_mask_across_a_huge_image_is_computed_in_bands() -> None:
    logits = np.full((256, 256), 5, dtype=np.float32)
    local, peak = peak_bytes(whole((1_000, 20_000)), logits)
    assert local.area_px == 1_000 * 20_000
    assert peak < local.bitmap.nbytes * 2 + 32 * MB


# Painted masks to logits


@settings(max_examples=60, deadline=None)
@given(
    hw=st.tuples(st.integers(40, 1500), st.integers(40, 1500)),
    centre=st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8)),
    radius=st.floats(0.08, 0.4),
)
def test_painted_mask_survives_conversion_to_logits(
    hw: tuple[int, int], centre: tuple[float, float], radius: float
) -> None:
    rows, cols = np.ogrid[: hw[0], : hw[1]]
    inside = (rows / hw[0] - centre[0]) ** 2 + (cols / hw[1] - centre[1]) ** 2 < radius**2
    frame = whole(hw)
    if min(inside.any(axis=0).sum(), inside.any(axis=1).sum()) * 256 / max(hw) < 6:
        return  # too thin for the cells
    logits = mask_to_logits(inside, frame)
    assert logits.shape == (256, 256)
    assert logits.dtype == np.float32
    assert np.abs(logits).max() < 7
    back = local_mask(frame, logits).to_dense(hw)
    assert (back & inside).sum() / (back | inside).sum() > 0.85


@settings(max_examples=60, deadline=None)
@given(hw=st.tuples(st.integers(16, 900), st.integers(16, 900)), seed=st.integers(0, 99))
def test_cells_represent_the_painted_area(hw: tuple[int, int], seed: int) -> None:
    mask = np.random.default_rng(seed).random(hw) < 0.4
    frame = whole(hw)
    fraction = 1 / (1 + np.exp(-mask_to_logits(mask, frame).astype(np.float64)))
    height, width = frame.input_hw
    cell_area = (4 * hw[0] / height) * (4 * hw[1] / width)
    # Probabilities are clipped to 0.1 % and 99.9 %.
    assert abs(fraction.sum() * cell_area - mask.sum()) <= 0.0011 * fraction.size * cell_area
    filled = np.ones(hw, dtype=bool)
    logits = mask_to_logits(filled, frame)
    kept_rows, kept_cols = height // 4, width // 4
    assert (logits[:kept_rows, :kept_cols] > 6.8).all()
    assert (logits[-(-height // 4) :] < -6.8).all()
    assert (logits[:, -(-width // 4) :] < -6.8).all()


def test_painted_mask_of_a_window() -> None:
    frame = Frame(top=50, left=80, height=200, width=300)
    mask = np.zeros((400, 500), dtype=bool)
    mask[60:160, 100:250] = True
    mask[:40] = True  # outside the window
    whole_window = mask_to_logits(mask[frame.slices], whole((200, 300)))
    np.testing.assert_array_equal(mask_to_logits(mask, frame), whole_window)
    local = LocalMask.from_dense(mask)
    np.testing.assert_array_equal(mask_to_logits(local, frame), whole_window)


def test_painted_mask_must_lie_in_the_window() -> None:
    frame = Frame(top=50, left=80, height=200, width=300)
    mask = np.zeros((400, 500), dtype=bool)
    with pytest.raises(PromptError, match="is empty in the tile of the prompt"):
        mask_to_logits(mask, frame)
    mask[:50] = True
    with pytest.raises(PromptError, match="is empty in the tile of the prompt"):
        mask_to_logits(LocalMask.from_dense(mask), frame)
    with pytest.raises(PromptError, match=r"shape \(100, 100\).*at least \(250, 380\)"):
        mask_to_logits(np.ones((100, 100), dtype=bool), frame)


def test_memory_of_a_painted_mask_depends_on_the_object() -> None:
    local = LocalMask(9_000, 9_000, np.ones((1_000, 1_000), dtype=bool))
    frame = whole((20_000, 20_000))
    tracemalloc.start()
    logits = mask_to_logits(local, frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * MB
    assert abs((logits > 0).sum() * (20_000 / 256) ** 2 / 1e6 - 1) < 0.1
