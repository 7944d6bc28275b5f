"""Segmentation with a head: position and blending of tiles, regions, and rejected input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import ImageError, UnknownNameError, WeightsError
from napari_sampath.heads import EncoderRef, LoadedHead, Metadata, create, load_head, save_bundle
from napari_sampath.predict import segment, segmentation
from napari_sampath.predict.blending import blend_weights
from napari_sampath.predict.segmentation import segment_job, tile_probabilities
from napari_sampath.tiling import tile_starts, tiles
from support.models.patches import PatchEncoder, disc_image, patch_model

CLASSES = (
    ClassInfo(0, "background", (0, 0, 0)),
    ClassInfo(4, "gland", (255, 0, 0)),
    ClassInfo(9, "fat", (0, 9, 9)),
)


def make_head(seed: int = 0, kind: str = "cnn", **arguments) -> LoadedHead:
    torch.manual_seed(seed)
    encoder = PatchEncoder()
    if kind == "cnn":
        arguments.setdefault("top_channel", 8)
    head = create(kind, encoder.spec, CLASSES, **arguments).eval()
    return LoadedHead(head, Metadata("random", (EncoderRef("patches", encoder.weights_digest, 1),)), "memory")


@pytest.fixture
def model():
    return patch_model()


@pytest.mark.parametrize("hw", [(96, 96), (70, 200), (1024, 1024), (1500, 300)])
def test_one_tile_is_upscaled_like_sams_masks(model, hw):
    pixels, _ = disc_image(1, hw)
    loaded = make_head()
    result = segment(pixels, loaded, model)
    features = model.encode(pixels)
    with torch.inference_mode():
        low = loaded.head({"embedding": features.maps["embedding"][None]})
        square = functional.interpolate(low, (1024, 1024), mode="bilinear", align_corners=False)
        height, width = features.frame.input_hw
        large = functional.interpolate(square[..., :height, :width], hw, mode="bilinear", align_corners=False)
    expected = large.softmax(dim=1)[0].numpy()
    assert result.probabilities.shape == (3, *hw)
    np.testing.assert_allclose(result.probabilities, expected, atol=2e-3)
    np.testing.assert_allclose(result.confidence, expected.max(axis=0), atol=1e-4)
    unambiguous = np.sort(expected, axis=0)[-1] - np.sort(expected, axis=0)[-2] > 1e-3
    ids = np.array([0, 4, 9])[expected.argmax(axis=0)]
    assert (result.labels == ids)[unambiguous].all()
    assert unambiguous.mean() > 0.9
    assert (result.labels.dtype, result.confidence.dtype) == (np.uint8, np.float32)
    assert (result.classes, result.head) == (CLASSES, "random")


def test_tiles_blend_into_the_weighted_mean(model):
    """Blending band by band equals blending all tiles at full size."""
    hw = (1900, 1600)
    pixels = np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8)
    pixels[:1100] //= 3
    loaded = make_head(seed=2)
    reports = []
    result = segment(pixels, loaded, model, on_progress=reports.append)
    frames = tiles(hw)
    assert len(frames) == 6
    assert [report.done for report in reports] == list(range(len(frames) + 1))
    assert {(report.total, report.unit) for report in reports} == {(len(frames), "tiles")}
    total, weights = np.zeros((3, *hw)), np.zeros(hw)
    for frame in frames:
        weight = np.outer(*(np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 for side in frame.hw))
        total[:, *frame.slices] += tile_probabilities(loaded.head, model.encode(pixels, frame))[0] * weight
        weights[frame.slices] += weight
    expected = total / weights
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-3)
    np.testing.assert_allclose(result.confidence, expected.max(axis=0), atol=1e-5)
    assert (np.array([0, 4, 9])[expected.argmax(axis=0)] == result.labels).mean() > 0.9999


def test_large_probabilities_are_not_returned(model, monkeypatch):
    pixels, _ = disc_image(1, (90, 100))
    whole = segment(pixels, make_head(), model)
    monkeypatch.setattr(segmentation, "KEEP_BYTES", 3 * 90 * 100 * 2 - 1)
    without = segment(pixels, make_head(), model)
    assert whole.probabilities is not None
    assert without.probabilities is None
    np.testing.assert_array_equal(without.labels, whole.labels)
    np.testing.assert_array_equal(without.confidence, whole.confidence)


def test_features_come_from_the_store(model):
    pixels, _ = disc_image(1, (1600, 400))
    segment(pixels, make_head(), model)
    assert model.encoder.passes == len(tiles((1600, 400)))
    segment(pixels, make_head(seed=5), model)
    assert model.encoder.passes == len(tiles((1600, 400)))


def test_cancelling_between_tiles(model):
    job = segment_job(np.zeros((1600, 400, 3), np.uint8) + 90, make_head(), model)
    next(job)
    next(job)
    job.close()
    assert model.encoder.passes == 1


def test_bundle_by_path_and_features_of_another_encoder(tmp_path, model):
    loaded = make_head()
    path = save_bundle(tmp_path / "h.safetensors", loaded.head, loaded.metadata)
    pixels, _ = disc_image(1)
    by_path = segment(pixels, str(path), model)
    np.testing.assert_array_equal(by_path.labels, segment(pixels, load_head(path), model).labels)
    other = patch_model(seed=1)
    with pytest.raises(WeightsError, match="train the head again"):
        segment(pixels, path, other)
    assert other.encoder.passes == 0
    with pytest.raises(UnknownNameError, match="gland-cn"):
        segment(pixels, "gland-cn", model)


@given(total=st.integers(1537, 6000), overlap=st.integers(64, 512))
@settings(deadline=None, max_examples=50)
def test_blend_weights_sum_to_one_and_fade_out(total, overlap):
    starts = tile_starts(total, 1024, overlap)
    summed = np.zeros(total)
    for start, weights in blend_weights(dict.fromkeys(starts, 1024), total).items():
        assert (weights > 0).all()
        summed[start : start + 1024] += weights
        # Windows fade out at both ends, except at the image edge.
        assert start == 0 or weights[0] < 1e-3
        assert start == total - 1024 or weights[-1] < 1e-3
    np.testing.assert_allclose(summed, 1, atol=1e-6)


@pytest.mark.parametrize(
    "region", [(900, 300, 1300, 700), (0, 0, 300, 200), (-50, 1500, 100, 9000), (1899, 1599, 1900, 1600)]
)
def test_a_region_equals_that_part_of_the_whole_image(model, region):
    hw = (1900, 1600)
    pixels = np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8)
    loaded = make_head(seed=2)
    part = segment(pixels, loaded, model, region=region)
    passes = model.encoder.passes
    whole = segment(pixels, loaded, model)
    r0, c0, r1, c1 = max(0, region[0]), max(0, region[1]), min(hw[0], region[2]), min(hw[1], region[3])
    assert part.origin_rc == (r0, c0)
    np.testing.assert_array_equal(part.labels, whole.labels[r0:r1, c0:c1])
    np.testing.assert_allclose(part.confidence, whole.confidence[r0:r1, c0:c1], atol=1e-6)
    np.testing.assert_allclose(part.probabilities, whole.probabilities[:, r0:r1, c0:c1], atol=1e-3)
    overlapping = [
        tile
        for tile in tiles(hw)
        if tile.top < r1 and tile.top + tile.height > r0 and tile.left < c1 and tile.left + tile.width > c0
    ]
    assert passes == len(overlapping), "only tiles that overlap the region are encoded"


def test_a_region_outside_the_image_is_rejected(model):
    with pytest.raises(ImageError, match=r"\(10, 200, 20, 210\)"):
        segment(disc_image(1, (90, 100))[0], make_head(), model, region=(10, 200, 20, 210))
