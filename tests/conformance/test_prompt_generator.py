"""Shaharabany et al.'s prompt generator and surrogate against the published implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from napari_sampath.encoders import EncoderInfo
from napari_sampath.encoders.sam.image_encoder import ImageEncoder
from napari_sampath.encoders.sam.sam import CHANNELS, SamEncoder
from napari_sampath.encoders.sam.sam_format import deduce
from napari_sampath.encoders.wrappers.double_norm import DoubleNormEncoder
from napari_sampath.errors import WeightsError
from napari_sampath.geometry import whole
from napari_sampath.heads.generator.hardnet import PLANS, HarDNet
from napari_sampath.heads.generator.network import SurrogateDecoder, reference_backbone, resize_image
from napari_sampath.heads.prompt_generator import PromptGeneratorHead, stretched
from napari_sampath.heads.surrogate import SurrogateHead
from support.golden import assert_matches

CALL = "promptgen.sam_call"
INFO = EncoderInfo("small", "The case's weights.", "none", "", True, 0.0)


def generator(golden, rule):
    return PromptGeneratorHead.import_reference(
        golden.weights(rule["manifest"], rule["seed"])
    ).generator.eval()


@pytest.mark.parametrize("name", [f"hardnet39ds.{side}" for side in (256, 352, 512)] + ["hardnet85.256"])
def test_generator(name, golden):
    run_generator(f"promptgen.{name}", golden)


@pytest.mark.slow
def test_generator_at_full_size(golden):
    run_generator("promptgen.hardnet85.512", golden)


def run_generator(name, golden):
    case = golden.case(name)
    g = generator(golden, case["weights"])
    x = golden.build(case["inputs"]["x"])
    with torch.inference_mode():
        assert_matches(golden, name, "embedding", g(x)[:, 0])
        if "decoder_out" in case["outputs"]:
            assert_matches(golden, name, "decoder_out", g.decoder(*g.features(x)))
        features = whole_backbone(golden, case)(x)
    assert [list(values.shape) for values in features] == case["outputs"]["feature_shapes"]["value"]
    if "feature_l2" in case["outputs"]:
        norms = torch.stack([torch.linalg.vector_norm(one.double()) for one in features])
        rule = case["outputs"]["feature_l2"]
        np.testing.assert_allclose(norms.numpy(), golden.expected(rule["array"]), rtol=rule["rtol"])


def whole_backbone(golden, case):
    """Build the published backbone including the stage that its decoder does not read."""
    state = golden.weights(case["weights"]["manifest"], case["weights"]["seed"])
    backbone = HarDNet(PLANS[reference_backbone(state)]).eval()
    prefix = "backbone."
    backbone.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    return backbone


def test_generator_in_training(golden):
    name = "promptgen.hardnet85.train"
    case = golden.case(name)
    # In float32, batch statistics alone change single values by 4e-4 from float64, and the stored ones by 3e-4.
    g = generator(golden, case["weights"]).double().train()
    with torch.no_grad():
        assert_matches(golden, name, "embedding", g(golden.build(case["inputs"]["x"]).double())[:, 0])
    assert_matches(golden, name, "first_norm_running_mean", g.backbone.base[0].norm.running_mean)


@pytest.mark.parametrize("backbone", list(PLANS))
def test_every_backbone_is_imported(backbone, golden):
    state = golden.weights(f"prompt_generator_{backbone}", 1)
    head = PromptGeneratorHead.import_reference(state)
    assert head.backbone == backbone
    assert len(
        whole_backbone(golden, {"weights": {"manifest": f"prompt_generator_{backbone}", "seed": 1}}).taps
    ) in (4, 5)


def test_surrogate(golden):
    case = golden.case("surrogate.h")
    state = golden.weights(case["weights"]["manifest"], case["weights"]["seed"])
    decoder = SurrogateDecoder().eval()
    decoder.load_state_dict(state)
    with torch.inference_mode():
        assert_matches(golden, "surrogate.h", "logits", decoder(golden.build(case["inputs"]["z"])))
    g = golden.weights("prompt_generator_hardnet39ds", 51)
    head = SurrogateHead.import_reference(g | state)
    assert all(torch.equal(head.decoder.state_dict()[key], value) for key, value in state.items())
    with pytest.raises(WeightsError, match="surrogate decoder"):
        SurrogateHead.import_reference(g)


@pytest.fixture(scope="module")
def call(golden):
    """Return encoder and head of the case: g and SAM in one state_dict."""
    case = golden.case(CALL)
    state = golden.weights(case["weights"]["manifest"], case["weights"]["seed"])
    vit = ImageEncoder(deduce(state, CALL), CHANNELS)
    prefix = "image_encoder."
    vit.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    rule = case["weights_generator"]
    state |= golden.weights(rule["manifest"], rule["seed"])
    return SamEncoder(INFO, vit, "").eval(), PromptGeneratorHead.import_reference(
        state, encoder="small"
    ).eval()


def prepared(golden):
    """Return the images of the reference: resized by torch, normalised once, padded (2, 3, 1024, 1024)."""
    case = golden.case(CALL)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
    batch = []
    for name in ("image0_u8", "image1_u8"):
        image = golden.build(case["inputs"][name]).permute(2, 0, 1).float()[None]
        size = case["inputs"]["resized_hw"]
        small = interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)[0]
        pad = (0, 1024 - size[1], 0, 1024 - size[0])
        batch.append(torch.nn.functional.pad((small - mean) / std, pad))
    return torch.stack(batch)


def test_sam_call(golden, call):
    encoder, head = call
    once = prepared(golden)
    double = DoubleNormEncoder(encoder)
    dense = golden.build(golden.case(CALL)["inputs"]["dense_prompt"])
    seen = []
    handle = encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.inference_mode():
        twice_maps, once_maps = double(once), encoder(once)
        handle.remove()
        low = head.decode_prompts(twice_maps["embedding"], dense.unsqueeze(1))
        single = head.decode_prompts(once_maps["embedding"], dense.unsqueeze(1))
        small = resize_image(once, (256, 256), as_reference=True)
        prompts = head.generator(small)
        whole_head = head({"embedding": twice_maps["embedding"], "image": once})
        expected = stretched(head.decode_prompts(twice_maps["embedding"], prompts))
    assert_matches(golden, CALL, "once", once)
    assert_matches(golden, CALL, "twice", seen[0])
    assert_matches(golden, CALL, "generator_input", small)
    assert_matches(golden, CALL, "generator_output", prompts[:, 0])
    assert_matches(golden, CALL, "low_res", low)
    assert_matches(golden, CALL, "low_res_single_norm", single)
    assert_matches(golden, CALL, "minmax", torch.sigmoid(stretched(low)))
    torch.testing.assert_close(whole_head[:, 1:], expected, atol=1e-4, rtol=1e-4)
    assert not whole_head[:, 0].any()
    postprocess(golden, torch.sigmoid(stretched(low))[:1])


def postprocess(golden, mask):
    """Upscale with aligned corners as the reference does; this package upscales as SAM does."""
    height, width = golden.case(CALL)["inputs"]["resized_hw"]
    large = interpolate(mask, (1024, 1024), mode="bilinear", align_corners=True)[..., :height, :width]
    original = golden.case(CALL)["inputs"]["original_hw"]
    full = interpolate(large, original, mode="bilinear", align_corners=True)
    final = interpolate(full, (256, 256), mode="bilinear", align_corners=True)
    assert_matches(golden, CALL, "postprocessed", full)
    assert_matches(golden, CALL, "final", final)
    assert_matches(golden, CALL, "final_mask", (final > 0.5).to(torch.uint8))


def test_spec_names_the_encoder(golden):
    state = golden.weights("prompt_generator_hardnet39ds", 51)
    compat = PromptGeneratorHead.import_reference(state, encoder="vit_h")
    assert {feature.encoder for feature in compat.spec.maps} == {"double-norm:vit_h"}
    sensible = PromptGeneratorHead.import_reference(state, encoder="vit_h", compat_double_norm=False)
    assert {feature.encoder for feature in sensible.spec.maps} == {"vit_h"}


def test_image_is_normalised_once(golden, call):
    image = golden.build(golden.case(CALL)["inputs"]["image0_u8"]).numpy()
    frame = whole(image.shape[:2])
    assert torch.equal(DoubleNormEncoder(call[0]).preprocess(image, frame), call[0].preprocess(image, frame))


def test_other_weights_are_rejected(golden):
    with pytest.raises(WeightsError, match="prompt generator"):
        PromptGeneratorHead.import_reference(golden.weights("autosam_linear", 42))
    broken = golden.weights("prompt_generator_hardnet39ds", 51)
    del broken["decoder.up1.conv1.weight"]
    with pytest.raises(WeightsError, match=r"decoder\.up1\.conv1\.weight' is missing"):
        PromptGeneratorHead.import_reference(broken)
