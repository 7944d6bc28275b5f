"""Networks are imported without packages that take seconds and that a prompt does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest
import timm
import torch

from napari_sampath.encoders.tiny.conv_next import WIDTHS, ConvNeXt

PROMPT = """
import sys
import numpy as np
from PIL import Image
from napari_sampath.cli import main
Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save("a.png")
sys.argv = ["sampath", "prompt", "a.png", "--point", "30,30", "-o", "b.png", "--quiet"]
assert main() == 0
print("loaded:", *(name for name in ("torch._dynamo", "torchvision", "timm.models") if name in sys.modules))
"""
HEADS = """
import sys
from napari_sampath.cli import main
sys.argv = ["sampath", "models"]
assert main() == 0
from napari_sampath.heads import list_bundles, load_head
for name in list_bundles():
    load_head(name)
print("loaded:", *(name for name in ("torch._dynamo", "torchvision", "timm") if name in sys.modules))
"""
LATER = """
import sys
from napari_sampath.cli.late_import import put_off
put_off("segment_anything")
import napari_sampath.encoders
import segment_anything.modeling
before = segment_anything.modeling.Sam
from segment_anything import SamPredictor, sam_model_registry
import segment_anything.predictor
assert segment_anything.predictor.SamPredictor is SamPredictor is segment_anything.SamPredictor
assert segment_anything.modeling.Sam is before
assert type(segment_anything) is type(sys)
assert isinstance(sam_model_registry, dict)
try:
    segment_anything.no_such_name
except AttributeError as error:
    print(error)
"""

PLUGIN = """
import napari_sampath.encoders
from segment_anything import *
print(type(__import__("segment_anything")).__name__, SamPredictor.__name__)
"""


def run(program: str, folder: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=str(folder)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_prompt_imports_neither_torchvision_nor_timm(tmp_path: object) -> None:
    assert run(PROMPT, tmp_path).splitlines()[-1] == "loaded:"


def test_heads_are_loaded_without_torchvision_timm_and_the_compiler(tmp_path: object) -> None:
    assert run(HEADS, tmp_path).splitlines()[-1] == "loaded:"


def test_segment_anything_stays_the_same_for_others(tmp_path: object) -> None:
    assert "no_such_name" in run(LATER, tmp_path)


def test_in_another_process_segment_anything_is_imported_as_usual(tmp_path: object) -> None:
    assert run(PLUGIN, tmp_path) == "module SamPredictor"


@pytest.mark.parametrize("name", WIDTHS)
def test_conv_next_has_the_tensors_and_results_of_timm(name: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, features_only=True, out_indices=(0, 1, 2, 3)).eval()
    ours = ConvNeXt(WIDTHS[name]).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    ours.load_state_dict(theirs.state_dict())
    assert theirs.feature_info.channels() == ours.channels
    pixels = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        for expected, actual in zip(theirs(pixels), ours(pixels), strict=True):
            assert torch.equal(expected, actual)
