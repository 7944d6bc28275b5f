"""MobileSAM, as loaded and run by this package, against the reference implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from napari_sampath.arrays import Prompts
from napari_sampath.encoders import registry
from napari_sampath.encoders.sam.mobile_sam import assemble, mobile_sam_name
from napari_sampath.errors import WeightsError
from napari_sampath.predict import Model
from support.golden import assert_matches

if TYPE_CHECKING:
    from pathlib import Path

    from support.golden import Golden

CASE = "mobilesam.full"


@pytest.fixture(scope="module")
def state(golden: Golden) -> dict[str, torch.Tensor]:
    recipe = golden.case(CASE)["weights"]
    return golden.weights(recipe["manifest"], recipe["seed"])


def test_all_tensors_of_the_file_are_used(state: dict[str, torch.Tensor]) -> None:
    assert len(state) == 439
    parts = assemble(state)
    modules = {
        "image_encoder": parts.encoder,
        "prompt_encoder": parts.prompt_encoder,
        "mask_decoder": parts.mask_decoder,
    }
    found = {
        mobile_sam_name(f"{prefix}.{key}"): value
        for prefix, module in modules.items()
        for key, value in module.state_dict().items()
    }
    assert found.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(found[key], value), key


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_wrong_tensors_are_named(state: dict[str, torch.Tensor], change: str) -> None:
    key = "image_encoder.layers.2.downsample.conv2.c.weight"
    changed = dict(state)
    if change == "missing":
        del changed[key]
    elif change == "surplus":
        changed["image_encoder.layers.4.x"] = state[key]
    else:
        changed[key] = state[key][:5]
    with pytest.raises(
        WeightsError, match=r"does not match MobileSAM: 1 tensors .*image_encoder\.layers\."
    ) as caught:
        assemble(changed, "file")
    assert "\n" not in str(caught.value)


def test_embedding_and_masks_agree_with_reference(
    golden: Golden, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """From the image and a weights file to logits and scores, through the public interface."""
    path = tmp_path / "mobile_sam.pt"
    torch.save(state, path)
    model = Model(registry["vit_t"].build(path), torch.device("cpu"))
    seen: dict[str, torch.Tensor] = {}
    hook = model.encoder.vit.patch_embed.register_forward_hook(
        lambda module, args, output: seen.setdefault("patch_embed", output)
    )
    described = golden.case(CASE)["inputs"]
    image = golden.build(described["image_u8"]).numpy()
    features = model.encode(image)
    hook.remove()
    points = golden.build(described["point_coords_xy"]).numpy()[0]
    labels = golden.build(described["point_labels"]).numpy()[0]
    logits, scores = model.decode(features, Prompts.make(points, labels), described["multimask_output"])
    assert features.maps["tokens"].shape == (320, 64, 64)
    assert_matches(golden, CASE, "patch_embed", seen["patch_embed"])
    assert_matches(golden, CASE, "embedding", features.maps["embedding"][None])
    assert_matches(golden, CASE, "low_res", logits[None])
    assert_matches(golden, CASE, "iou", scores[None])


def test_attention_biases_follow_the_loaded_weights(state: dict[str, torch.Tensor]) -> None:
    """timm caches attention biases: a second file must not use those of the first."""
    pixels = torch.zeros(1, 3, 224, 224)
    other = {key: value * 3 if "attention_biases" in key else value for key, value in state.items()}
    encoder = assemble(state).encoder
    with torch.inference_mode():
        before = encoder(pixels)["tokens"]
        fresh = assemble(other).encoder
        changed = fresh(pixels)["tokens"]
        encoder.load_state_dict(fresh.state_dict())
        encoder.eval()
        after = encoder(pixels)["tokens"]
    assert (before - changed).abs().max() > 1e-2
    assert torch.equal(after, changed)
