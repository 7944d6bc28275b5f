"""HIPT's vision transformer, as loaded and run by this package, against the reference implementation."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_sampath.encoders.pathology.hipt import resize_position
from napari_sampath.encoders.pathology.pathology import MODELS
from napari_sampath.encoders.pathology.timm_encoder import TimmEncoder
from napari_sampath.encoders.pathology.vision_transformer import PathologyModel, build_network, vit_keys
from napari_sampath.encoders.weights.weights import load_state_dict
from napari_sampath.geometry import whole
from support.golden import assert_matches

if TYPE_CHECKING:
    from support.golden import Golden

HIPT = next(model for model in MODELS if model.name == "hipt-s16")


def reduced(described: dict[str, Any]) -> PathologyModel:
    """Return the row of the table with the sizes of a case."""
    sizes = {key: described[key] for key in ("embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias")}
    return dataclasses.replace(HIPT, options=sizes)


def network_of(golden: Golden, case: str, hw: tuple[int, int]) -> Any:
    described = golden.case(case)
    recipe = described["weights"]
    weights = golden.weights(recipe["manifest"], recipe["seed"], recipe.get("scale"))
    model = reduced(described["model"])
    return build_network(model, vit_keys(model, weights, case), hw, case)


def run(golden: Golden, case: str) -> dict[str, torch.Tensor]:
    """Compute all outputs of a case."""
    pixels = golden.build(golden.case(case)["inputs"]["x"])
    network = network_of(golden, case, (pixels.shape[2], pixels.shape[3]))
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        network.blocks[0].register_forward_pre_hook(
            lambda module, args: seen.setdefault("tokens_in", args[0])
        )
    ]
    for index, block in enumerate(network.blocks):
        hooks.append(
            block.register_forward_hook(
                lambda module, args, output, index=index: seen.setdefault(f"raw{index}", output)
            )
        )
    with torch.inference_mode():
        encoder = TimmEncoder(
            HIPT.info, network, "", HIPT.mean, HIPT.std, pixels.shape[2], len(network.blocks) - 1
        )
        tokens = encoder(pixels)["tokens"]
        for index in range(len(network.blocks)):
            seen[f"block{index}"] = network.norm(seen[f"raw{index}"])
    rows, columns = pixels.shape[2] // 16, pixels.shape[3] // 16
    assert tokens.shape[2:] == (rows, columns)
    return seen | {
        "dense": tokens.flatten(2).transpose(1, 2),
        "cls": seen[f"block{len(network.blocks) - 1}"][:, 0],
        "position": network.pos_embed,
        "tokens_in": seen["tokens_in"],
    }


@pytest.mark.parametrize(
    "case",
    [
        f"hipt.small.{size}"
        for size in ("224x224", "256x256", "512x512", "1024x1024", "256x512", "intermediate")
    ]
    + ["eps_stress.hipt", "hipt.full.224", "hipt.full.256"],
)
def test_vision_transformer_agrees_with_reference(golden: Golden, case: str) -> None:
    found = run(golden, case)
    for output in golden.case(case)["outputs"]:
        assert_matches(golden, case, output, found[output])


@pytest.mark.slow
def test_full_size_agrees_with_reference(golden: Golden) -> None:
    found = run(golden, "hipt.full.1024")
    assert_matches(golden, "hipt.full.1024", "cls", found["cls"])
    assert_matches(golden, "hipt.full.1024", "dense", found["dense"])


def test_mean_and_std_are_one_half(golden: Golden) -> None:
    """SAM-Path inverts ImageNet's normalisation for HIPT; here each encoder normalises the image itself."""
    case = "hipt.small.renormalised"
    image = golden.build(golden.case(case)["inputs"]["image_u8"]).numpy()
    network = network_of(golden, case, (256, 256))
    encoder = TimmEncoder(HIPT.info, network, "", HIPT.mean, HIPT.std, 256, len(network.blocks) - 1)
    with torch.inference_mode():
        tokens = encoder(encoder.preprocess(image, whole((256, 256)))[None])["tokens"]
    assert_matches(golden, case, "dense", tokens.flatten(2).transpose(1, 2))


def test_dino_checkpoint_is_read(golden: Golden) -> None:
    """The teacher is used, prefix and head are removed, and other objects in the file are ignored."""
    case = "hipt.checkpoint_tiny"
    described = golden.case(case)
    path = golden.folder / described["inputs"]["checkpoint"]
    model = reduced(described["model"])
    state = vit_keys(model, load_state_dict(path), str(path))
    recipe = described["weights"]
    expected = golden.weights(recipe["manifest"], recipe["seed"])
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    pixels = golden.build(described["inputs"]["x"])
    network = build_network(model, state, (pixels.shape[2], pixels.shape[3]), str(path))
    with torch.inference_mode():
        tokens = network.forward_features(pixels)
    assert_matches(golden, case, "cls", tokens[:, 0])
    assert_matches(golden, case, "dense", tokens[:, 1:])


def test_network_has_the_tensors_of_the_published_file(golden: Golden) -> None:
    """Exactly the 150 tensors of HIPT's file, and the number of parameters of SAM-Path."""
    weights = golden.weights("hipt_vit256", 0)
    network = build_network(HIPT, vit_keys(HIPT, weights, "x"), (224, 224), "x")
    assert len(weights) == 150
    assert network.state_dict().keys() == weights.keys()
    assert sum(parameter.numel() for parameter in network.parameters()) == 21_665_664


def test_positions_differ_from_those_resized_to_a_size(golden: Golden) -> None:
    position = golden.weights("hipt_small", 11)["pos_embed"]
    square = position[:, 1:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
    by_size = (
        torch.nn.functional.interpolate(square, size=(64, 64), mode="bicubic").flatten(2).transpose(1, 2)
    )
    ours = resize_position(position, (64, 64))[:, 1:]
    assert 0.01 < (ours - by_size).abs().max() < 0.1
