"""Weights files of other programs: prefixes, names of transformers, DINO's checkpoints, wrong files."""

from __future__ import annotations

import argparse
import os
import pathlib
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_sampath.encoders import registry
from napari_sampath.encoders.pathology import vision_transformer as vits
from napari_sampath.encoders.weights.weights import load_state_dict
from napari_sampath.errors import UnsafeFileError, WeightsError
from support.models.small_vits import ROWS, one_sentence, reference, small, to_transformers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone.", "model."])
def test_prefixes_of_training_programs_are_removed(tmp_path: Path, prefix: str) -> None:
    row = small(ROWS["kaiko-s16"])
    state = reference(row).state_dict()
    wrapped = {prefix + key: value for key, value in state.items()} | {"head.mlp.0.weight": torch.ones(3)}
    torch.save({"state_dict": wrapped}, tmp_path / "a.pth")
    plain = {**state, "head.weight": torch.ones(2, 32), "mask_token": torch.ones(1)}
    torch.save(plain, tmp_path / "b.pth")
    digests = {vits.build(row, tmp_path / name).encoder.weights_digest for name in ("a.pth", "b.pth")}
    assert len(digests) == 1


def test_prefix_and_pooler_of_transformers_are_removed(tmp_path: Path) -> None:
    row = small(ROWS["phikon"])
    plain = to_transformers(reference(row).state_dict())
    wrapped = {f"vit.{key}": value for key, value in plain.items()}
    wrapped |= {
        "vit.pooler.dense.weight": torch.ones(3, 3),
        "vit.embeddings.mask_token": torch.ones(1, 1, 32),
    }
    torch.save(plain, tmp_path / "a.pth")
    torch.save(wrapped, tmp_path / "b.pth")
    digests = {vits.build(row, tmp_path / name).encoder.weights_digest for name in ("a.pth", "b.pth")}
    assert len(digests) == 1


@pytest.mark.parametrize("change", ["missing", "depth", "shape", "other"])
def test_file_of_another_network_is_rejected(tmp_path: Path, change: str) -> None:
    row = small(ROWS["kaiko-s16"])
    state = dict(reference(row).state_dict())
    if change == "missing":
        del state["blocks.1.attn.qkv.bias"]
    elif change == "depth":
        state = dict(reference(row, depth=3).state_dict())
    elif change == "shape":
        state = dict(reference(row, embed_dim=48).state_dict())
    else:
        state = {"conv1.weight": torch.ones(3)}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"'kaiko-s16'") as caught:
        vits.build(row, tmp_path / "w.pth")
    assert str(tmp_path / "w.pth") in one_sentence(caught.value)


def _dino(path: Path, **more: object) -> dict[str, torch.Tensor]:
    state = reference(small(ROWS["hipt-s16"])).state_dict()
    settings = argparse.Namespace(lr=5e-4, output_dir=pathlib.Path("/out"), arch="vit_small")
    content = {
        "student": {f"module.backbone.{key}": torch.ones_like(value) for key, value in state.items()},
        "teacher": {f"backbone.{key}": value for key, value in state.items()} | {"head.last": torch.ones(2)},
        "optimizer": {"param_groups": [{"lr": np.float64(1e-4), "step": np.int64(7)}]},
        "epoch": 9,
        "args": settings,
        **more,
    }
    torch.save(content, path)
    return dict(state)


def test_dino_checkpoint_with_training_state_is_read(tmp_path: Path) -> None:
    path = tmp_path / "dino.pth"
    state = _dino(path, best=np.float32(3), dtype=np.dtype("float64"))
    row = small(ROWS["hipt-s16"])
    found = vits.vit_keys(row, load_state_dict(path), str(path))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_dino_checkpoint_of_numpy_1_is_read(tmp_path: Path) -> None:
    """Older numpy had its scalars in another module, which files of 2022 refer to."""
    _dino(tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        replaced = 0
        for name in new.namelist():
            content = new.read(name)
            if name.endswith("data.pkl"):
                replaced = content.count(b"cnumpy._core.multiarray\n")
                content = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
            old.writestr(name, content)
    assert replaced
    assert len(vits.vit_keys(small(ROWS["hipt-s16"]), load_state_dict(tmp_path / "old.pth"), "x")) == 30


class _RunsCode:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.proof),)


def test_dino_checkpoint_that_would_run_code_is_rejected(tmp_path: Path) -> None:
    _dino(tmp_path / "dino.pth", hook=_RunsCode(tmp_path / "proof"))
    with pytest.raises(UnsafeFileError, match="mkdir") as caught:
        registry["hipt-s16"].build(tmp_path / "dino.pth")
    one_sentence(caught.value)
    assert not (tmp_path / "proof").exists()
