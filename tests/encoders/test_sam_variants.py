"""SAM's networks with weights from medicine: their files, MedSAM's own way from pixels to masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import resize

from napari_sampath.encoders import registry
from napari_sampath.encoders.sam.sam_variants import VARIANTS, MedSamEncoder
from napari_sampath.errors import WeightsError, WeightsMissingError
from napari_sampath.geometry import Frame, whole
from napari_sampath.predict import Model
from support.models.small_vits import image, one_sentence

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def medsam(tiny_sam_file: Path) -> Model:
    return Model(registry["medsam"].build(tiny_sam_file), torch.device("cpu"))


def test_addresses_and_hashes_are_well_formed() -> None:
    for variant in VARIANTS:
        assert variant.weights.url.startswith("https://")
        *algorithm, digits = variant.weights.sha256.split(":")
        if variant.name == "medsam":
            assert not digits
        else:
            assert (algorithm, len(digits)) in ((["xxh128"], 32), ([], 64))


@pytest.mark.parametrize("hw", [(300, 500), (500, 300), (1024, 1024)])
def test_medsam_stretches_the_window_to_the_square(medsam: Model, hw: tuple[int, int]) -> None:
    pixels = image(hw) // 2 + 40  # 40..167
    prepared = medsam.encoder.preprocess(pixels, Frame(0, 0, *hw))
    stretched = resize(pixels, (1024, 1024), order=3, preserve_range=True, anti_aliasing=True).astype(
        np.uint8
    )
    expected = (stretched - stretched.min()) / (stretched.max() - stretched.min())
    np.testing.assert_allclose(prepared.permute(1, 2, 0).numpy(), expected, atol=1e-6)
    assert (float(prepared.min()), float(prepared.max())) == (0.0, 1.0)


def test_medsam_scales_by_the_values_of_the_window(medsam: Model) -> None:
    pixels = image((200, 300))
    window = np.ascontiguousarray(pixels[20:120, 50:250])
    prepared = medsam.encoder.preprocess(pixels, Frame(20, 50, 100, 200))
    assert torch.equal(prepared, medsam.encoder.preprocess(window, whole((100, 200))))


def test_medsam_encodes_a_constant_image(medsam: Model) -> None:
    flat = np.full((64, 64, 3), 200, dtype=np.uint8)
    assert torch.equal(medsam.encoder.preprocess(flat, whole((64, 64))), torch.zeros(3, 1024, 1024))


def test_medsam_predicts_one_mask_of_the_size_of_the_image(medsam: Model) -> None:
    features = medsam.encode(image((300, 500)))
    assert isinstance(medsam.encoder, MedSamEncoder)
    assert features.frame.stretched
    assert features.frame.input_hw == (1024, 1024)
    masks = medsam.predict(features, box=(100, 50, 400, 250), multimask=True)
    assert masks.masks.shape == (1, 300, 500)
    assert masks.logits.shape == (1, 256, 256)
    single = medsam.predict(features, box=(100, 50, 400, 250), multimask=False)
    np.testing.assert_array_equal(masks.masks, single.masks)
    stretched = torch.nn.functional.interpolate(
        torch.nn.functional.interpolate(torch.from_numpy(masks.logits)[None], (1024, 1024), mode="bilinear"),
        (300, 500),
        mode="bilinear",
    )
    assert ((stretched[0] > 0).numpy() != masks.masks).mean() < 1e-4
    assert masks.masks.any()
    assert not masks.masks.all()


@given(
    hw=st.tuples(st.integers(16, 3000), st.integers(16, 3000)),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_stretched_frame_maps_corners_to_corners(hw: tuple[int, int], at: tuple[float, float]) -> None:
    frame = Frame(7, 5, *hw, stretched=True)
    point = np.array([5 + at[0] * hw[1], 7 + at[1] * hw[0]])
    np.testing.assert_allclose(frame.to_input(point), np.array(at) * 1024, atol=1e-6)
    np.testing.assert_allclose(frame.to_image(frame.to_input(point)), point, atol=1e-6)


def test_checkpoint_of_micro_sam_is_read(tiny_sam_file: Path, tmp_path: Path) -> None:
    """A training checkpoint with the weights under "model_state" and a prefix "sam."."""
    state = torch.load(tiny_sam_file, weights_only=True)
    wrapped = {"model_state": {f"sam.{key}": value for key, value in state.items()}, "iteration": 250_000}
    torch.save(wrapped, tmp_path / "best.pt")
    wrapped_encoder = registry["vit_b_histopathology"].build(tmp_path / "best.pt").encoder
    plain = registry["vit_b_histopathology"].build(tiny_sam_file).encoder
    assert wrapped_encoder.weights_digest == plain.weights_digest
    assert wrapped_encoder.info.name == "vit_b_histopathology"


def test_missing_and_wrong_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match=r"medsam_vit_b\.pth") as missing:
        registry["medsam"].build(tmp_path)
    one_sentence(missing.value)
    torch.save({"a": torch.ones(2)}, tmp_path / "medsam_vit_b.pth")
    with pytest.raises(WeightsError, match="not a SAM weights file") as wrong:
        registry["medsam"].build(tmp_path)
    one_sentence(wrong.value)
