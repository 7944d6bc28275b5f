"""SAM-Path's head against the published implementation, with its checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_sampath.arrays import ClassInfo
from napari_sampath.encoders import EncoderInfo, EncoderParts
from napari_sampath.encoders.pathology.pathology import MODELS
from napari_sampath.encoders.pathology.timm_encoder import TimmEncoder
from napari_sampath.encoders.pathology.vision_transformer import build_network, vit_keys
from napari_sampath.encoders.sam.image_encoder import ImageEncoder
from napari_sampath.encoders.sam.sam import CHANNELS, OFFICIAL, SamEncoder
from napari_sampath.encoders.wrappers.aliased import AliasedEncoder
from napari_sampath.encoders.wrappers.pair import PairEncoder
from napari_sampath.errors import WeightsError
from napari_sampath.geometry import whole
from napari_sampath.heads.sampath import SamPathHead
from napari_sampath.predict import Model
from support.golden import assert_matches

HIPT = next(model for model in MODELS if model.name == "hipt-s16")
INFO = EncoderInfo("vit_b", "The case's weights.", "none", "", True, 0.0)

PAIR = "vit_b+hipt-s16"


def weights(golden, case):
    """Return the state_dict of the Lightning checkpoint, with the prefix `model.`."""
    rule = case["weights"]
    state = golden.weights(rule["manifest"], rule["seed"])
    return {f"{rule['checkpoint_prefix']}{key}": value for key, value in state.items()}


def fixed_maps(golden, case):
    sam, pathology = (golden.build(case["inputs"][name]) for name in ("sam_features", "pathology_features"))
    grid = pathology.reshape(1, 64, 64, -1)
    return {"tokens": sam.permute(0, 3, 1, 2), "hipt-s16.tokens": grid.permute(0, 3, 1, 2)}


@pytest.mark.parametrize("name", ["sampath.bcss.head", "sampath.crag.head"])
def test_fusion_head_agrees_with_reference(name, golden):
    case = golden.case(name)
    head = SamPathHead.import_reference(weights(golden, case), encoder=PAIR).eval()
    assert (head.variant, len(head.classes)) == ("fusion", case["model"]["real_classes"])
    assert [(feature.encoder, feature.channels) for feature in head.spec.maps] == [
        ("vit_b", 768),
        ("hipt-s16", 384),
    ]
    maps = fixed_maps(golden, case)
    with torch.inference_mode():
        fused = head.fuse(maps)
        low, iou = head.decode(fused, first=1)
        large = torch.nn.functional.interpolate(low, case["model"]["mask_hw"], mode="bilinear")
        logits, predicted_iou = head.forward_with_iou(maps)
    assert_matches(golden, name, "fusion_out", fused)
    assert_matches(golden, name, "low_res", low)
    assert_matches(golden, name, "iou", iou.unsqueeze(-1))
    assert_matches(golden, name, "masks", large)
    torch.testing.assert_close(logits, low[:, 1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(predicted_iou, iou[:, 1:], atol=1e-5, rtol=0)


def test_classes_can_be_named(golden):
    """A checkpoint with k + 2 tokens has k classes; another number of names is rejected."""
    case = golden.case("sampath.crag.head")
    names = (ClassInfo(0, "background", (0, 0, 0)), ClassInfo(4, "gland", (255, 0, 0)))
    assert SamPathHead.import_reference(weights(golden, case), names, PAIR).classes == names
    with pytest.raises(WeightsError, match="1 classes are given, but the weights are for 2; give 2"):
        SamPathHead.import_reference(weights(golden, case), names[:1], PAIR)


def test_other_weights_are_rejected(golden):
    with pytest.raises(WeightsError, match="do not belong to SAM-Path"):
        SamPathHead.import_reference(golden.weights("autosam_linear", 42))
    broken = weights(golden, golden.case("sampath.crag.head"))
    del broken["model.model.mask_decoder.transformer.norm_final_attn.bias"]
    with pytest.raises(WeightsError, match=r"norm_final_attn\.bias' is missing"):
        SamPathHead.import_reference(broken, encoder=PAIR)


def whole_maps(golden, case, state, head):
    """Run the encoders of the head, built from the tensors of the checkpoint, on the image of the case."""
    state = {key.removeprefix("model."): value for key, value in state.items()}
    image = golden.build(case["inputs"]["image_u8"]).numpy()
    with torch.device("meta"):
        image_encoder = ImageEncoder(OFFICIAL["vit_b"], CHANNELS)
    prefix = "model.image_encoder."
    tensors = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    image_encoder.load_state_dict(tensors, assign=True)
    sam = SamEncoder(INFO, image_encoder, "")
    encoder = (
        AliasedEncoder(sam) if "aliased:vit_b" in {feature.encoder for feature in head.spec.maps} else sam
    )
    if not {feature.encoder for feature in head.spec.maps} <= {encoder.info.name}:
        tokens = vit_keys(HIPT, {k: v for k, v in state.items() if k.startswith("extra_encoder.model.")}, "x")
        network = build_network(HIPT, tokens, (1024, 1024), "x")
        last = len(network.feature_info) - 1
        hipt = TimmEncoder(HIPT.info, network, "", HIPT.mean, HIPT.std, 1024, last)
        encoder = hipt if head.variant == "pathology_only" else PairEncoder(encoder, hipt)
    model = Model(EncoderParts(encoder))
    return {
        name: one[None] for name, one in model.read(image, whole(image.shape[:2]), head.spec).maps.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant", "encoder"),
    [
        ("bcss.full", "fusion", PAIR),
        ("crag.full", "fusion", f"aliased:{PAIR}"),
        ("ablation.wo_Fp", "sam_only", "vit_b"),
        ("ablation.wo_Fs", "pathology_only", "hipt-s16"),
        ("ablation.plus", "plus", PAIR),
    ],
)
def test_whole_model_agrees_with_reference(name, variant, encoder, golden):
    """From the image to the masks: ViT-B and HIPT at full size, with the weights of the checkpoint."""
    case = golden.case(f"sampath.{name}")
    state = weights(golden, case)
    head = SamPathHead.import_reference(state, encoder=encoder).eval()
    classes = case["model"]["num_classes"] - 1
    assert (head.variant, len(head.classes), head.unused_tokens) == (variant, classes, 2)
    maps = whole_maps(golden, case, state, head)
    with torch.inference_mode():
        low, iou = head.decode(head.fuse(maps), first=1)
        large = torch.nn.functional.interpolate(low, case["model"]["mask_hw"], mode="bilinear")
    assert_matches(golden, f"sampath.{name}", "low_res", low)
    assert_matches(golden, f"sampath.{name}", "iou", iou.unsqueeze(-1))
    if "masks_l2" in case["outputs"]:
        wanted = case["outputs"]["masks_l2"]["value"]
        assert np.linalg.norm(large.double().numpy()) == pytest.approx(wanted, rel=1e-5)
        return
    assert_matches(golden, f"sampath.{name}", "masks", large)
    assert_matches(golden, f"sampath.{name}", "prediction", (large[:, 1:].argmax(dim=1) + 1).to(torch.uint8))
    assert_matches(golden, f"sampath.{name}", "sam_features", maps["tokens"].permute(0, 2, 3, 1))
    tokens = maps["hipt-s16.tokens"].flatten(2).transpose(1, 2)
    assert_matches(golden, f"sampath.{name}", "pathology_features", tokens)
