"""AutoSAM's ViT head (Hu et al.) against the published implementation, with its weights."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch.nn.functional import interpolate

from napari_sampath.arrays import ClassInfo, FeatureMap, FeatureSpec
from napari_sampath.errors import WeightsError
from napari_sampath.heads import create
from napari_sampath.heads.autosam import AutoSamHead
from support.golden import assert_matches

CASE = "autosam.vit"
PE = "pe_layer.positional_encoding_gaussian_matrix"


def weights(golden):
    rule = golden.case(CASE)["weights"]
    return golden.weights(rule["manifest"], rule["seed"])


def image_encoder(case, state):
    options = {key: value for key, value in case["model"]["image_encoder"].items() if key != "layer_norm_eps"}
    encoder = ImageEncoderViT(**options, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6)).eval()
    prefix = "image_encoder."
    encoder.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    return encoder


def test_whole_model_agrees_with_reference(golden):
    case, state = golden.case(CASE), weights(golden)
    head = AutoSamHead.import_reference(state).eval()
    x = golden.build(case["inputs"]["x"])
    with torch.inference_mode():
        large = interpolate(x, (1024, 1024), mode="bilinear")
        embedding = image_encoder(case, state)(large)
        answers, upscaled = head.run_decoder(embedding)
        both = head.decoder.masks(answers[:, 1:], upscaled)
        iou = head.decoder.iou_prediction_head(answers[:, 0])
        low = head({"embedding": embedding})
        logits = interpolate(low, x.shape[-2:], mode="bilinear")
    for output, found in {
        "encoder_input": large,
        "embedding": embedding,
        "pooled_embedding": embedding.mean((2, 3)),
        "tokens": head.tokens().repeat(2, 1, 1),
        "both_masks": both,
        "both_iou": iou,
        "iou": iou[:, :1],
        "low_res": low.reshape(8, 1, 256, 256),
        "logits": logits,
        "prediction": logits.argmax(dim=1).to(torch.uint8),
    }.items():
        assert_matches(golden, CASE, output, found)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_prefixes_of_distributed_training_are_removed(prefix, golden):
    state = weights(golden)
    head = AutoSamHead.import_reference({f"{prefix}{key}": value for key, value in state.items()})
    assert torch.equal(head.decoder.mask_tokens.weight, state["mask_decoder.mask_tokens.weight"])


def test_head_without_positional_encoding_warns(golden):
    state = weights(golden)
    prefix = "mask_decoder."
    alone = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    with pytest.warns(UserWarning, match="no positional encoding"):
        head = AutoSamHead.import_reference(alone)
    assert head.pe_layer.positional_encoding_gaussian_matrix.shape == (2, 128)
    assert torch.equal(head.decoder.iou_token.weight, state["mask_decoder.iou_token.weight"])


@pytest.mark.parametrize("sam_position", [False, True])
def test_same_tensors_are_copied_from_sam(sam_position, golden):
    """The published program copies 277 of SAM's tensors: 177 of the encoder and these 100 of the decoder."""
    lists = json.loads((golden.folder / "key_lists" / "autosam_vit_from_sam_vit_b.json").read_text())
    described = golden.case("autosam.key_transfer")
    sam = golden.weights("sam_vit_b", 1)
    spec = FeatureSpec((FeatureMap("embedding", 256, "vit_b"),))
    classes = tuple(ClassInfo(k, str(k), (k, k, k)) for k in range(4))
    head = create("autosam", spec, classes, sam_position=sam_position)
    before = {key: value.clone() for key, value in head.state_dict().items()}
    head.init_from_sam(sam)
    changed = {key for key, value in head.state_dict().items() if not torch.equal(value, before[key])}
    for key in changed - {PE}:
        assert torch.equal(head.state_dict()[key], sam[f"mask_decoder.{key.removeprefix('decoder.')}"])
    loaded = next(names for names in lists.values() if len(names) == described["outputs"]["loaded"]["value"])
    wanted = {key.replace("mask_decoder.", "decoder.") for key in loaded if key.startswith("mask_decoder.")}
    assert len(wanted) == 100
    assert changed - {PE} == wanted
    assert (PE in changed) is sam_position


def test_other_weights_are_rejected(golden):
    with pytest.raises(WeightsError, match="AutoSAM's ViT head"):
        AutoSamHead.import_reference(golden.weights("autosam_linear", 42))
    broken = weights(golden)
    del broken["mask_decoder.output_upscaling.0.bias"]
    with pytest.raises(WeightsError, match=r"output_upscaling\.0\.bias' is missing"):
        AutoSamHead.import_reference(broken)
