"""Text models from a folder, the Hub and an architecture: same embeddings as open_clip, one sentence for each error."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from napari_sampath.encoders.text.files import PUBLISHED, locate_text_job
from napari_sampath.encoders.text.loading import load_text_model
from napari_sampath.errors import (
    ConfigError,
    SampathError,
    UnknownNameError,
    WeightsError,
    WeightsMissingError,
)
from napari_sampath.jobs import run
from support.models.small_clip import CONFIG, WEIGHTS, save_small_clip
from support.models.small_vits import one_sentence
from support.web_server import MEMBER, STRANGER, serve_hub

if TYPE_CHECKING:
    from pathlib import Path

# open_clip leaves its vocabulary file open.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
TEXTS = ["an H&E image of a nucleus", "fat"]
IMAGES = [np.random.default_rng(n).integers(0, 256, (40 + n, 40, 3), dtype=np.uint8) for n in range(3)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_clip(tmp_path_factory.mktemp("clip") / "small")


def test_embeddings_are_those_of_open_clip(small: Path) -> None:
    import open_clip

    name = f"local-dir:{small}"
    network, preprocess = open_clip.create_model_from_pretrained(name)
    with torch.inference_mode():
        images = network.encode_image(torch.stack([preprocess(Image.fromarray(x)) for x in IMAGES]), True)
        texts = network.eval().encode_text(open_clip.get_tokenizer(name)(TEXTS), True)
    for spelling in (name, str(small)):
        model = load_text_model(spelling, device="cpu")
        np.testing.assert_allclose(model.embed_images(IMAGES), images.numpy(), atol=1e-5)
        np.testing.assert_allclose(model.embed_texts(TEXTS), texts.numpy(), atol=1e-5)
        assert model.scale == pytest.approx(network.logit_scale.exp().item())


def test_weights_of_transformers_give_the_same_embeddings(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = shape | {"image_size": 32, "patch_size": 8}
    text = shape | {"vocab_size": 49408, "max_position_embeddings": 24, "eos_token_id": 49407}
    network = transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    ).eval()
    towers = {
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    folder = save_small_clip(tmp_path / "plip", quick_gelu=True, **towers)
    (folder / WEIGHTS).unlink()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    model = load_text_model(str(folder), device="cpu")
    with torch.inference_mode():
        pixels = torch.stack([model._preprocess(Image.fromarray(x)) for x in IMAGES])
        tokens = model._tokenize(TEXTS)
        found = network(input_ids=tokens, pixel_values=pixels)
    np.testing.assert_allclose(model.embed_images(IMAGES), found.image_embeds.numpy(), atol=1e-4)
    np.testing.assert_allclose(model.embed_texts(TEXTS), found.text_embeds.numpy(), atol=1e-4)


def test_text_encoder_and_tokenizer_of_transformers_are_read_from_the_folder(tmp_path: Path) -> None:
    """BiomedCLIP has a BERT of Hugging Face as its text encoder."""
    transformers = pytest.importorskip("transformers")
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path / "bert"
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *["nucleus", "an", "image", "of", "a", "fat", "h", "e", "&"],
    ]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=24, **shape)
    config.save_pretrained(folder)
    text = {
        "hf_model_name": str(folder),
        "hf_tokenizer_name": "owner/bert",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 24,
    }
    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16}
    network = open_clip.CustomTextCLIP(16, vision, text | {"hf_model_pretrained": False}).eval()
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, folder / WEIGHTS)
    stated = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text | {"hf_model_name": "owner/bert"}}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": stated}))
    model = load_text_model(str(folder), device="cpu")
    with torch.inference_mode():
        expected = network.encode_text(
            open_clip.tokenizer.HFTokenizer(folder, context_length=24)(TEXTS), True
        )
    np.testing.assert_allclose(model.embed_texts(TEXTS), expected.numpy(), atol=1e-5)
    assert not np.allclose(*model.embed_texts(TEXTS))


def test_architecture_of_open_clip_takes_its_weights_from_a_file(small: Path) -> None:
    import open_clip

    files = run(locate_text_job("ViT-B-32", small / WEIGHTS))
    assert files.config["model_cfg"] == open_clip.get_model_config("ViT-B-32")
    assert files.weights == small / WEIGHTS


@pytest.mark.parametrize(
    "changes", [{"embed_dim": 8}, {"text_cfg": CONFIG["model_cfg"]["text_cfg"] | {"width": 8}}]
)
def test_weights_of_another_model_are_refused(small: Path, tmp_path: Path, changes: dict) -> None:
    folder = save_small_clip(tmp_path / "other", **changes)
    shutil.copy(small / WEIGHTS, folder / WEIGHTS)
    with pytest.raises(WeightsError, match="does not match the text model") as caught:
        load_text_model(str(folder), device="cpu")
    one_sentence(caught.value)


@pytest.mark.parametrize("name", ["quiltnet", "biomedclip", "hf-hub:owner/closed"])
def test_gated_model_is_downloaded_with_the_token_only(
    small: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The server sends the configuration as each file; weights that are already here are not asked for."""
    content = (small / "open_clip_config.json").read_bytes()
    repository = PUBLISHED[name].repository if name in PUBLISHED else name.removeprefix("hf-hub:")
    folder.mkdir(parents=True, exist_ok=True)
    with serve_hub(content, gated=True) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        for token, advice in (("", "log in with 'hf auth login'"), (STRANGER, "wait until it is granted")):
            monkeypatch.setenv("HF_TOKEN", token)
            with pytest.raises(WeightsMissingError, match=advice) as caught:
                load_text_model(name, device="cpu")
            one_sentence(caught.value)
            assert repository in str(caught.value)
        shutil.copy(small / WEIGHTS, folder / f"{repository.replace('/', '--')}--{WEIGHTS}")
        monkeypatch.setenv("HF_TOKEN", MEMBER)
        model = load_text_model(name, device="cpu")
        assert {line.split()[-1] for line in hub.requests if "resolve" in line and "HEAD" in line} >= {MEMBER}
    assert model.embed_texts(TEXTS).shape == (2, 16)


@pytest.mark.parametrize(
    ("name", "error", "advice"),
    [
        ("quiltnett", UnknownNameError, "did you mean 'quiltnet'"),
        ("no such model", UnknownNameError, "choose biomedclip, plip, quiltnet"),
        ("ViT-B-32", WeightsMissingError, "give a file with its weights"),
        ("hf-hub:owner", UnknownNameError, "write hf-hub:OWNER/NAME"),
    ],
)
def test_unknown_names_are_explained(name: str, error: type[SampathError], advice: str) -> None:
    with pytest.raises(error, match=advice) as caught:
        load_text_model(name, device="cpu")
    one_sentence(caught.value)


def test_damaged_folders_are_explained(small: Path, tmp_path: Path) -> None:
    cases = {
        "empty": ({}, "contains no open_clip_config.json"),
        "no weights": ({"open_clip_config.json": None}, "contains no weights"),
        "not json": ({"open_clip_config.json": b"{", WEIGHTS: None}, "is not a configuration file"),
        "other json": ({"open_clip_config.json": b"[1]", WEIGHTS: None}, "is not a configuration file"),
        "unknown": (
            {
                "open_clip_config.json": b'{"model_cfg": {"embed_dim": 4, "vision_cfg": {}, "text_cfg": {"x": 1}}}',
                WEIGHTS: None,
            },
            "not one that open_clip can build",
        ),
        "cut": ({"open_clip_config.json": None, WEIGHTS: b"\0" * 20}, "."),
    }
    for name, (files, sentence) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes((small / file).read_bytes() if content is None else content)
        with pytest.raises((WeightsError, WeightsMissingError), match=sentence) as caught:
            load_text_model(str(folder), device="cpu")
        one_sentence(caught.value)


def test_missing_extra_is_named(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ConfigError, match=r'pip install "napari-sampath\[text\]"') as caught:
        run(locate_text_job(str(small)))
    one_sentence(caught.value)
