"""Models of timm by name: `timm:resnet50`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import timm
import torch

from napari_sampath.encoders import registry
from napari_sampath.encoders.pathology.timm_encoder import choose_stage
from napari_sampath.errors import DuplicateNameError, UnknownNameError, WeightsError, WeightsMissingError
from napari_sampath.geometry import whole
from napari_sampath.registry import Registry
from support.models.small_vits import image, one_sentence

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("strides", "stage", "input_px"),
    [
        ([16] * 12, 11, 1024),
        ([14] * 24, 23, 896),
        ([8] * 12, 11, 512),
        ([2, 4, 8, 16, 32], 3, 1024),
        ([4, 8, 16, 32], 2, 1024),
        ([32] * 6, 5, 2048),
        ([32, 64], 0, 2048),
        ([8, 32], 0, 512),
    ],
)
def test_stage_closest_to_sams_is_selected(strides: list[int], stage: int, input_px: int) -> None:
    assert choose_stage(strides) == (stage, input_px)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("timm:test_vitt", "Did you mean 'timm:test_vit'"),
        ("timm:resnet50.nowhere", "available: .*a1_in1k"),
        ("timm:", "no model ''"),
        ("tinm:test_vit", "no encoder 'tinm:test_vit'"),
    ],
)
def test_unknown_names_are_rejected(name: str, says: str) -> None:
    with pytest.raises(UnknownNameError, match=says):
        registry[name]


def test_tokens_equal_those_of_timm(tmp_path: Path) -> None:
    """Normalised last block of a vision transformer; stage with stride 16 px of a convolutional network."""
    vit = timm.create_model("test_vit").eval()
    torch.save({"model": {f"{key}": value for key, value in vit.state_dict().items()}}, tmp_path / "vit.pth")
    encoder = registry["timm:test_vit"].build(tmp_path / "vit.pth").encoder
    pixels = encoder.preprocess(image(), whole((300, 400)))[None]
    with torch.inference_mode():
        larger = timm.create_model("test_vit", num_classes=0, dynamic_img_size=True).eval()
        larger.load_state_dict({key: value for key, value in vit.state_dict().items() if "head." not in key})
        expected = larger.forward_features(pixels)[:, 1:].transpose(1, 2).unflatten(2, (64, 64))
        torch.testing.assert_close(encoder(pixels)["tokens"], expected, atol=1e-4, rtol=1e-4)
    resnet = timm.create_model("test_resnet").eval()
    torch.save(resnet.state_dict(), tmp_path / "resnet.pth")
    encoder = registry["timm:test_resnet"].build(tmp_path / "resnet.pth").encoder
    with torch.inference_mode():
        stem = resnet.maxpool(resnet.act1(resnet.bn1(resnet.conv1(pixels))))
        expected = resnet.layer3(resnet.layer2(resnet.layer1(stem)))
        torch.testing.assert_close(encoder(pixels)["tokens"], expected)


def test_file_of_another_model_is_rejected(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="does not match timm's 'test_vit'") as caught:
        registry["timm:test_vit"].build(tmp_path / "w.pth")
    one_sentence(caught.value)


def test_model_without_published_weights_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match="publishes no weights") as caught:
        registry["timm:vit_giant_patch14_224"].build(None)
    one_sentence(caught.value)


def test_model_with_published_weights_names_its_page() -> None:
    entry = registry["timm:convnext_atto.d2_in1k"]
    assert entry.file == "timm-convnext_atto.d2_in1k.safetensors"
    assert entry.info.source_url == "https://huggingface.co/timm/convnext_atto.d2_in1k"
    assert entry.info.licence == "apache-2.0"


def test_registry_of_name_families() -> None:
    catalogue: Registry[str] = Registry("thing")
    catalogue.register("plain")("one")
    catalogue.register_family("many:")(lambda name: name.upper())
    assert catalogue["many:x"] == "MANY:X"
    assert catalogue["plain"] == "one"
    assert catalogue.names() == ["plain"]
    with pytest.raises(UnknownNameError, match="no thing 'man'"):
        catalogue["man"]
    with pytest.raises(DuplicateNameError, match="family 'many:'"):
        catalogue.register_family("many:")(str)
