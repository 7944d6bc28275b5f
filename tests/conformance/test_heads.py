"""CNN and linear heads against the published implementation, with its weights."""

from __future__ import annotations

import pytest
import torch

from napari_sampath.errors import WeightsError
from napari_sampath.heads import Head
from napari_sampath.heads.cnn import CNNHead
from napari_sampath.heads.linear import LinearHead
from support.golden import assert_matches

CASES = [
    *[(f"autosam.cnn.{case}", CNNHead) for case in ("depth2", "depth3", "depth4", "depth5", "depth4_full")],
    ("autosam.linear", LinearHead),
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_agrees_with_reference(name, kind: type[Head], golden):
    case = golden.case(name)
    state = golden.weights(case["weights"]["manifest"], case["weights"]["seed"])
    head = kind.import_reference(state).eval()
    features = golden.build(case["inputs"]["features"])
    with torch.inference_mode():
        logits = head({"embedding": features})
    assert_matches(golden, name, "logits", logits)
    if "minimum" in case["outputs"]:
        assert float(logits.min()) == case["outputs"]["minimum"]["value"]


def test_cnn_in_a_whole_model_agrees_with_reference(golden):
    """Weights of the whole model with prefixes, and logits resized to the image."""
    from functools import partial

    from segment_anything.modeling import ImageEncoderViT

    case = golden.case("autosam.cnn.whole")
    state = golden.weights(case["weights"]["manifest"], case["weights"]["seed"])
    options = {key: value for key, value in case["model"]["image_encoder"].items() if key != "layer_norm_eps"}
    encoder = ImageEncoderViT(**options, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6)).eval()
    prefix = "image_encoder."
    encoder.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    head = CNNHead.import_reference(state)
    x = golden.build(case["inputs"]["x"])

    def resize(values: torch.Tensor, side: int) -> torch.Tensor:
        return torch.nn.functional.interpolate(values, (side, side), mode="bilinear", align_corners=False)

    with torch.inference_mode():
        logits = resize(head({"embedding": encoder(resize(x, 1024))}), x.shape[-1])
    assert_matches(golden, "autosam.cnn.whole", "logits", logits)


def test_weights_of_the_other_head_are_rejected(golden):
    cnn = golden.weights("autosam_cnn_depth2_top8", 32)
    linear = golden.weights("autosam_linear", 42)
    with pytest.raises(WeightsError, match="linear head"):
        LinearHead.import_reference(cnn)
    with pytest.raises(WeightsError, match="CNN head"):
        CNNHead.import_reference(linear)
    cnn.pop("blocks.1.0.weight")
    with pytest.raises(WeightsError, match=r"blocks\.1\.0\.weight' is missing"):
        CNNHead.import_reference(cnn)
