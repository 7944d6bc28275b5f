"""All registered encoders: their description, and each architecture at a small size, from a file to features."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch

from napari_sampath.arrays import GRID
from napari_sampath.config import load_config
from napari_sampath.encoders import Encoder, EncoderParts, list_encoders, registry
from napari_sampath.encoders.pathology import vision_transformer as vits
from napari_sampath.encoders.pathology.pathology import MODELS
from napari_sampath.encoders.pathology.timm_encoder import choose_stage
from napari_sampath.encoders.sam import mobile_sam
from napari_sampath.encoders.tiny import tiny
from napari_sampath.encoders.weights.hub import HubFile
from napari_sampath.errors import PromptError, WeightsMissingError
from napari_sampath.geometry import INPUT_PX, Frame, whole
from napari_sampath.predict import Model
from napari_sampath.store import Store
from support.models.small_vits import ROWS, SMALL, image, one_sentence, reference, small, write

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sampath.encoders.pathology.vision_transformer import PathologyModel

MILLION_PARAMETERS = {
    "hipt-s16": 21.67,
    "lunit-s16": 21.67,
    "lunit-s8": 21.67,
    "kaiko-s16": 21.67,
    "kaiko-s8": 21.67,
    "kaiko-b16": 85.80,
    "kaiko-b8": 85.81,
    "kaiko-l14": 304.4,
    "phikon": 85.80,
    "uni": 303.4,
    "uni2-h": 681.4,
    "h-optimus-0": 1134.8,
}
"""As published, at the size of image that each was trained on."""


# Registry


@pytest.mark.parametrize("name", [*list_encoders(), "timm:test_vit.r160_in1k", "timm:test_resnet"])
def test_description_of_an_encoder_is_complete(name: str) -> None:
    entry = registry[name]
    info = entry.info
    assert info.name == name
    assert info.summary.endswith((".", ").", "..."))
    assert "\n" not in info.summary
    assert info.licence
    assert info.source_url.startswith("https://") or name == "sam"
    assert info.size_mb >= 0
    if info.gated:
        with pytest.raises(WeightsMissingError, match="on request only") as caught:
            entry.build(None)
        sentence = one_sentence(caught.value)
        assert info.source_url in sentence
        assert f"'{entry.file}'" in sentence


def test_file_names_in_the_cache_are_unique() -> None:
    files = [registry[name].file for name in registry if registry[name].file]
    assert len(files) == len(set(files))
    assert {name for name in registry if not registry[name].file} <= {
        "sam",
        *tiny.MODELS,
        "vit_b",
        "vit_l",
        "vit_h",
    }


@pytest.mark.parametrize("model", MODELS, ids=list(ROWS))
def test_row_of_the_table_matches_the_network(model: PathologyModel) -> None:
    with torch.device("meta"):
        network: Any = timm.create_model(model.architecture, num_classes=0, **model.options)
    usual_px = 518 if "dinov2" in model.architecture else 224
    assert network.patch_embed.patch_size == (model.patch_px, model.patch_px)
    assert network.patch_embed.img_size == (usual_px, usual_px)
    assert choose_stage([stage["reduction"] for stage in network.feature_info]) == (
        len(network.blocks) - 1,
        model.input_px,
    )
    assert model.input_px == {16: 1024, 14: 896, 8: 512}[model.patch_px]
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    # Positions of 518 px count for 1.1 or 1.7 M more than those of the 224 px of the published figures.
    assert millions == pytest.approx(MILLION_PARAMETERS[model.name], abs=2.0, rel=0.001)
    published_mb = 4 * millions
    if model.name != "hipt-s16":  # DINO's file holds student, teacher and optimiser
        assert model.weights.size / 1e6 == pytest.approx(published_mb, rel=0.02)


# From a file to features


def _pathology(name: str) -> Any:
    def build(folder: Path, tiny_sam_file: Path) -> EncoderParts:
        row = small(ROWS[name])
        return vits.build(row, write(row, folder / "weights.file"))

    return build


def _mobile(folder: Path, tiny_sam_file: Path) -> EncoderParts:
    parts = EncoderParts(mobile_sam.MobileSamEncoder(), *map(_second, ("prompt", "mask")))
    prefixes = {
        "image_encoder": parts.encoder,
        "prompt_encoder": parts.prompt_encoder,
        "mask_decoder": parts.mask_decoder,
    }
    state = {
        mobile_sam.mobile_sam_name(f"{prefix}.{key}"): value
        for prefix, module in prefixes.items()
        for key, value in module.state_dict().items()
    }
    torch.save(state, folder / "mobile_sam.pt")
    return registry["vit_t"].build(folder / "mobile_sam.pt")


def _second(which: str) -> Any:
    return mobile_sam.build_prompt_encoder() if which == "prompt" else mobile_sam.build_mask_decoder()


def _by_name(name: str) -> Any:
    def build(folder: Path, tiny_sam_file: Path) -> EncoderParts:
        return registry[name].build(tiny_sam_file)

    return build


def _timm(name: str) -> Any:
    def build(folder: Path, tiny_sam_file: Path) -> EncoderParts:
        torch.manual_seed(0)
        network = timm.create_model(name)
        torch.save(network.state_dict(), folder / "weights.pth")
        return registry[f"timm:{name}"].build(folder / "weights.pth")

    return build


ARCHITECTURES = {
    **{name: _pathology(name) for name in ROWS},
    "vit_t": _mobile,
    **{name: lambda folder, tiny_sam_file, own=own: own.untrained() for name, own in tiny.MODELS.items()},
    **{name: _by_name(name) for name in ("sam", "medsam", "vit_b_histopathology", "vit_l_histopathology")},
    "vit_h_histopathology": _by_name("vit_h_histopathology"),
    "timm:test_vit": _timm("test_vit"),
    "timm:test_vit2": _timm("test_vit2"),
    "timm:test_resnet": _timm("test_resnet"),
    "timm:test_convnext": _timm("test_convnext"),
    "timm:test_efficientnet": _timm("test_efficientnet"),
}


def test_every_registered_architecture_is_tested() -> None:
    """ViT-B, L and H of SAM differ from `sam` in size only."""
    assert set(list_encoders()) - set(ARCHITECTURES) == {"vit_b", "vit_l", "vit_h"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tile_is_encoded_to_maps_of_64_by_64(name: str, tmp_path: Path, tiny_sam_file: Path) -> None:
    parts = ARCHITECTURES[name](tmp_path, tiny_sam_file)
    encoder: Encoder = parts.encoder
    assert encoder.info.name == name
    assert encoder.weights_digest == "untrained" or len(encoder.weights_digest) == 32
    model = Model(parts, torch.device("cpu"), Store.from_config(load_config()))
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    frame = Frame(20, 30, 250, 350)
    features = model.encode(image(), frame)
    assert set(features.maps) == {feature.name for feature in encoder.spec.maps}
    for feature in encoder.spec.maps:
        values = features.maps[feature.name]
        assert feature.encoder == name
        assert values.shape == (feature.channels, GRID, GRID)
        assert values.dtype == torch.float32
        assert torch.isfinite(values).all()
        # Tokens of tissue differ from each other; a constant map would come from the wrong layer.
        assert values[:, :40].std(dim=(1, 2)).max() > 1e-3
    assert features.frame == encoder.adapt_frame(frame)
    assert (features.frame.input_px, features.frame.hw) == (INPUT_PX, frame.hw)
    assert ("embedding" in features.maps) == encoder.info.promptable == model.promptable
    encoder.register_forward_hook(lambda *_: pytest.fail("the encoder ran again"))
    assert torch.equal(model.encode(image(), frame).maps[feature.name], values)


@pytest.mark.parametrize("name", [name for name in ROWS if name != "hipt-s16"])
def test_tokens_equal_those_of_timm(name: str, tmp_path: Path) -> None:
    """Position embedding resized as in timm, without class and register tokens."""
    row = small(ROWS[name])
    encoder = vits.build(row, write(row, tmp_path / "weights.file")).encoder
    pixels = encoder.preprocess(image(), whole((300, 400)))[None]
    assert pixels.shape == (1, 3, row.input_px, row.input_px)
    with torch.inference_mode():
        tokens = encoder(pixels)["tokens"]
        expected = reference(row, dynamic_img_size=True).forward_features(pixels)[:, -(GRID**2) :]
    assert tokens.shape == (1, SMALL["embed_dim"], GRID, GRID)
    difference = (tokens.flatten(2).transpose(1, 2) - expected).abs().max()
    assert difference < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", ["lunit-s8", "uni2-h", "phikon"])
def test_pixels_are_normalised_by_mean_and_std_of_the_row(name: str, tmp_path: Path) -> None:
    row = small(ROWS[name])
    encoder = vits.build(row, write(row, tmp_path / "weights.file")).encoder
    flat = np.full((100, 200, 3), (10, 120, 250), dtype=np.uint8)
    pixels = encoder.preprocess(flat, whole((100, 200)))
    half = row.input_px // 2
    expected = (torch.tensor([10, 120, 250]) / 255 - torch.tensor(row.mean)) / torch.tensor(row.std)
    torch.testing.assert_close(pixels[:, :half], expected[:, None, None].expand(3, half, row.input_px))
    assert torch.equal(pixels[:, half:], torch.zeros(3, half, row.input_px))


def test_other_weights_or_normalisation_give_other_keys(tmp_path: Path) -> None:
    row = small(ROWS["lunit-s16"])
    first = vits.build(row, write(row, tmp_path / "a.safetensors")).encoder
    again = vits.build(row, write(row, tmp_path / "b.safetensors")).encoder
    other = vits.build(row, write(row, tmp_path / "c.safetensors", seed=1)).encoder
    corrected = dataclasses.replace(row, mean=(0.7, 0.5, 0.6))
    moved = vits.build(corrected, tmp_path / "a.safetensors").encoder
    assert first.weights_digest == again.weights_digest != other.weights_digest
    assert first.preprocessing_version == again.preprocessing_version == other.preprocessing_version
    assert moved.weights_digest == first.weights_digest
    assert moved.preprocessing_version != first.preprocessing_version
    store = Store.from_config(load_config())
    models = [Model(EncoderParts(encoder), torch.device("cpu"), store) for encoder in (first, other, moved)]
    tokens = [model.encode(image()).maps["tokens"] for model in models]
    assert (tokens[0] - tokens[1]).abs().max() > 0.1
    assert (tokens[0] - tokens[2]).abs().max() > 1e-3


def test_pathology_encoder_rejects_prompts(tmp_path: Path) -> None:
    row = small(ROWS["lunit-s16"])
    model = Model(vits.build(row, write(row, tmp_path / "w.safetensors")), torch.device("cpu"))
    features = model.encode(image())
    with pytest.raises(PromptError, match="answers no prompts") as caught:
        model.predict(features, points=[(10, 10)])
    one_sentence(caught.value)


def test_addresses_of_weights_are_https() -> None:
    for model in MODELS:
        assert model.weights.url.startswith("https://")
        if isinstance(model.weights, HubFile):
            assert model.weights.url.endswith(
                ("/resolve/main/model.safetensors", "/resolve/main/pytorch_model.bin")
            )
