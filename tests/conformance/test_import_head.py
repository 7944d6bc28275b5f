"""Published checkpoints are imported as bundles that segment an image."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from napari_sampath import import_head, load_head, segment
from napari_sampath.encoders.wrappers.double_norm import DoubleNormEncoder
from napari_sampath.encoders.wrappers.min_max import MinMaxEncoder
from napari_sampath.encoders.wrappers.pair import PairEncoder
from napari_sampath.errors import UnknownNameError, UnsafeFileError, WeightsError
from support.models.patches import disc_image
from support.models.wide_encoder import WideEncoder, promptable


def lightning(golden, path):
    """Write SAM-Path's checkpoint without the settings that need python-box."""
    case = golden.case("sampath.crag.head")
    state = golden.weights(case["weights"]["manifest"], case["weights"]["seed"])
    content = {
        "epoch": 59,
        "state_dict": {f"model.{key}": value for key, value in state.items()},
        "loops": {},
        "optimizer_states": [],
        "hyper_parameters": {"num_classes": 3, "lr": 1e-4},
    }
    torch.save(content, path)
    return path


def autosam(golden, path, whole):
    state = golden.weights("autosam_vit_small", 21)
    prefix = "" if whole else "mask_decoder."
    head = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    torch.save({"epoch": 120, "state_dict": head, "optimizer": {"state": {}, "param_groups": []}}, path)
    return path


class Tokens(WideEncoder):
    """An encoder with as many token channels as ViT-B or HIPT."""

    def __init__(self, name, embedding, tokens):
        super().__init__(name)
        maps = [
            dataclasses.replace(one, channels=c) for one, c in zip(self.spec.maps, (256, tokens), strict=True)
        ]
        self.spec = dataclasses.replace(self.spec, maps=tuple(maps if embedding else maps[1:]))
        self.wide = tokens

    def forward(self, pixels):
        maps = super().forward(pixels)
        tokens = maps["embedding"].repeat(1, -(-self.wide // 256), 1, 1)[:, : self.wide]
        return (
            {"embedding": maps["embedding"], "tokens": tokens}
            if len(self.spec.maps) == 2
            else {"tokens": tokens}
        )


def test_sampath_is_imported(golden, tmp_path):
    model = promptable(PairEncoder(Tokens("vit_b", True, 768), Tokens("hipt-s16", False, 384)))
    file = lightning(golden, tmp_path / "last.ckpt")
    path = import_head(file, "sampath", tmp_path / "crag.safetensors", model, licence="research only")
    loaded = load_head(path)
    assert loaded.encoder_name == "vit_b+hipt-s16"
    assert loaded.metadata.licence == "research only"
    assert loaded.metadata.data == {"imported_from": ["last.ckpt"]}
    found = segment(disc_image(1)[0], path, model)
    assert set(np.unique(found.labels)) <= {0, 1}


def test_autosam_is_imported(golden, tmp_path):
    model = promptable(MinMaxEncoder(WideEncoder("vit_b")))
    path = import_head(
        autosam(golden, tmp_path / "w.pth.tar", True), "autosam", tmp_path / "a.safetensors", model
    )
    assert segment(disc_image(1)[0], path, model).probabilities.shape == (4, 96, 96)
    with pytest.warns(UserWarning, match="no positional encoding"):
        import_head(
            autosam(golden, tmp_path / "h.pth.tar", False), "autosam", tmp_path / "b.safetensors", model
        )


@pytest.mark.parametrize(
    ("kind", "weights"),
    [("autosam", "autosam_vit_small"), ("cnn", "autosam_cnn_depth2_top8"), ("linear", "autosam_linear")],
)
def test_heads_of_hu_et_al_require_pixels_from_0_to_1(golden, tmp_path, kind, weights):
    file, path = tmp_path / "w.pth.tar", tmp_path / "h.safetensors"
    seed = {"autosam": 21, "cnn": 32, "linear": 42}[kind]
    torch.save({"epoch": 120, "state_dict": golden.weights(weights, seed)}, file)
    once = promptable(WideEncoder("vit_b"))
    with pytest.raises(
        WeightsError, match=r"'minmax01:vit_b', and the given model is 'vit_b'.*input_norm=\"sam\""
    ):
        import_head(file, kind, path, once)
    stretched = promptable(MinMaxEncoder(WideEncoder("vit_b")))
    assert load_head(import_head(file, kind, path, stretched)).encoder_name == "minmax01:vit_b"
    assert segment(disc_image(1)[0], path, stretched).labels.shape == (96, 96)
    assert load_head(import_head(file, kind, path, once, input_norm="sam")).encoder_name == "vit_b"
    with pytest.raises(UnknownNameError, match="minmax01"):
        import_head(file, kind, path, once, input_norm="minmax")


def test_prompt_generator_copies_the_decoder_of_the_encoder(golden, tmp_path):
    file = tmp_path / "g.pth"
    torch.save(golden.weights("prompt_generator_hardnet39ds", 51), file)
    once = promptable(WideEncoder("vit_b"))
    with pytest.raises(WeightsError, match="'double-norm:vit_b', and the given model is 'vit_b'"):
        import_head(file, "prompt_generator", tmp_path / "g.safetensors", once)
    twice = promptable(DoubleNormEncoder(WideEncoder("vit_b")))
    path = import_head(file, "prompt_generator", tmp_path / "g.safetensors", twice)
    own = load_head(path).head.decoder.mask_tokens.weight
    assert torch.equal(own, twice.decoder.state_dict()["mask_decoder.mask_tokens.weight"])
    assert segment(disc_image(1)[0], path, twice).labels.shape == (96, 96)
    path = import_head(
        file, "prompt_generator", tmp_path / "o.safetensors", once, compat_double_norm=False, image_px=352
    )
    assert load_head(path).head.arguments["image_px"] == 352


def test_surrogate_is_imported_from_two_files(golden, tmp_path):
    files = tmp_path / "g.pth", tmp_path / "h.pth"
    torch.save(golden.weights("prompt_generator_hardnet39ds", 51), files[0])
    torch.save(golden.weights("surrogate_h", 53), files[1])
    model = promptable(WideEncoder("vit_b"))
    path = import_head(files, "surrogate", tmp_path / "s.safetensors", model)
    assert segment(disc_image(1)[0], path, model).labels.shape == (96, 96)


class Harmful:
    def __reduce__(self):
        return print, ("run",)


def test_harmful_file_is_rejected(tmp_path, capsys):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "x": Harmful()}, tmp_path / "bad.ckpt")
    with pytest.raises((UnsafeFileError, WeightsError)):
        import_head(
            tmp_path / "bad.ckpt", "sampath", tmp_path / "s.safetensors", promptable(WideEncoder("vit_b"))
        )
    assert "run" not in capsys.readouterr().out
    assert not (tmp_path / "s.safetensors").exists()
