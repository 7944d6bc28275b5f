"""`sampath tune`, `train` and `evaluate` on a few synthetic images."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from benchmarks import model_card
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.cli import main
from napari_sampath.cli.fields import add_fields, from_args
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.heads import list_bundles, load_head, save_bundle
from napari_sampath.predict import EverythingSettings
from napari_sampath.settings import field_docs
from napari_sampath.training.evaluation import instance_evaluation
from napari_sampath.training.evaluation.instance_evaluation import evaluate_instances
from napari_sampath.training.prompts.config import PromptTuningConfig
from support.models.patches import disc_image

if TYPE_CHECKING:
    from pathlib import Path

DISC = np.hypot(*(np.indices((96, 96)) - 48)) < 30
QUICK = [
    *["--warmup-steps", "1", "--steps", "1", "--windows", "1", "--side-px", "64", "--full-frame-share", "0"],
    *["--prompts", "1", "--iterations", "1", "--precision", "float32", "--save-every", "1"],
]


@pytest.fixture
def glands(tmp_path: Path) -> Path:
    """Folder with `ebhi_glands` of dark discs: two training images and one validation image."""
    folder = tmp_path / "data" / "ebhi_glands"
    rows = ["name,class,class_id,case_group,split"]
    for number, split in enumerate(["val", "train", "train"]):
        rng = np.random.default_rng(number)
        pixels = np.where(DISC[..., None], (120, 60, 140), (235, 200, 220)) + rng.normal(0, 5, (96, 96, 3))
        for kind, values in (("images", pixels.clip(0, 255)), ("masks", DISC * 6)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            ending = "jpg" if kind == "images" else "png"
            Image.fromarray(values.astype(np.uint8)).save(
                folder / kind / f"gland{number}.{ending}", quality=95
            )
        rows.append(f"gland{number},Polyp,2,case {number},{split}")
    (folder / "index.csv").write_text("\n".join(rows))
    return tmp_path / "data"


@pytest.mark.slow
def test_tune_writes_weights_that_answer_prompts(
    glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, card = tmp_path / "own.safetensors", tmp_path / "card.md"
    words = ["tune", "--data", str(glands), "-o", str(weights), *QUICK, "--seed", "3", "--device", "cpu"]
    assert main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["weights"] == str(weights)
    assert (result["recipe"]["seed"], result["recipe"]["steps"], result["recipe"]["device"]) == (3, 1, "cpu")
    assert result["data"]["gland"] == 2
    assert "2/2" in captured.err

    image = str(glands / "ebhi_glands" / "images" / "gland0.jpg")
    model = ["--weights", str(weights), "--device", "cpu"]
    assert main(["prompt", image, "--box", "18,18,79,79", "-o", str(tmp_path / "mask.png"), *model]) == 0
    capsys.readouterr()

    words = ["--data", str(glands), "--card", str(card), *model]
    assert model_card.main([*words, "--json"]) == 0
    scores = {
        (score["prompt"], score["method"]): score for score in json.loads(capsys.readouterr().out)["scores"]
    }
    assert set(scores) >= {("box", "sampath-tiny"), ("box", "box itself"), ("point", "sampath-tiny")}
    assert scores["box", "box itself"]["mean"] == pytest.approx(DISC.sum() / 59**2, abs=0.02)
    assert scores["box", "sampath-tiny"]["objects"] == 1
    words = ["evaluate", "--prompts", "--data", str(glands), "--split", "train", *model, "--json"]
    for most, expected in (("0", 2), ("1", 1)):
        assert main([*words, "--max-images", most]) == 0
        assert json.loads(capsys.readouterr().out)["scores"][0]["images"] == expected
    assert "own.safetensors" in card.read_text()
    assert "--start random -o stage1.safetensors" in card.read_text()
    assert "--seed 3" in card.read_text()
    assert "gland, box; gland, point" in card.read_text()
    with Image.open(card.parent / "images" / "card-failures.jpg") as image:
        assert image.size == (960, 320)


@pytest.mark.slow
def test_card_of_the_shipped_weights_lists_the_shipped_heads(
    glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_points = EverythingSettings(points_per_side=2)
    monkeypatch.setattr(
        instance_evaluation, "evaluate_instances", partial(evaluate_instances, everything=few_points)
    )
    card = tmp_path / "card.md"
    words = ["--data", str(glands), "--device", "cpu", "--card", str(card)]
    own = tmp_path / "mine.safetensors"
    gland = load_head("gland-cnn")
    save_bundle(own, gland.head, replace(gland.metadata, name="mine"))
    options = [
        "--clicks",
        "1",
        "--closer",
        "--colours",
        "1.2",
        "--objects",
        "gland-cnn",
        "--beside",
        str(own),
    ]
    assert model_card.main([*words, *options, "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert "not on the card" not in captured.err, captured.err
    assert [report["head"] for report in result["heads"]] == [*list_bundles("gland-*"), "mine"]
    prompts = {score["prompt"] for score in result["scores"]}
    assert prompts >= {"box", "box, colours x 1.2", "points to IoU 0.80"}
    methods = {score["method"]: score["pq"] for score in result["objects"]}
    assert methods["gland-cnn + sampath-tiny"] is not None
    text = card.read_text()
    assert f"| gland | gland-cnn + sampath-tiny | {methods['gland-cnn + sampath-tiny']:.3f} |" in text
    assert "| `gland-cnn` | 1 of ebhi_glands (val) | gland-cnn | " in text
    assert "| `mine` | 1 of ebhi_glands (val) | mine | " in text
    assert "| one case |" in text
    assert text.count("sampath tune --recipe pretrain") >= 3

    save_bundle(own, gland.head, replace(gland.metadata, name="lost", data={"name": "elsewhere"}))
    (glands / "ebhi_glands" / "index.csv").write_text("name,group,split\ngland0,a,val\ngland1,b,train")
    assert model_card.main([*words, "--beside", str(own)]) == 0
    captured = capsys.readouterr()
    assert "'gland-cnn' is not on the card" in captured.err
    assert "'lost' is not on the card" in captured.err
    assert "sampath-tiny" in captured.out
    for wrong in (["--clicks", "-1"], ["--colours", "0"], ["--colours", "red"], ["--colours"]):
        assert model_card.main([*words, *wrong]) == 2
        message = capsys.readouterr().err
        assert wrong[0] in message
        assert "_factor" not in message
    assert model_card.main([*words, "--model", "vit_b"]) == 1
    assert "omit --model vit_b" in capsys.readouterr().err


def test_tune_reports_errors(
    glands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "own.safetensors"

    def sentence(*words: str, code: int = 1) -> str:
        assert main(["tune", *words]) == code
        return capsys.readouterr().err

    assert "side_px is 65" in sentence("--data", str(glands), "-o", str(target), "--side-px", "65")
    assert "is not a dataset" in sentence("--data", str(tmp_path), "-o", str(target))
    assert "The group 'a' applies to images found by patterns" in sentence(
        "--data", str(glands), "-o", str(target), "--group", "a"
    )
    coco = tmp_path / "empty.json"
    coco.write_text("{}")
    assert "empty.json" in sentence("--data", str(coco), "-o", str(target))
    assert "no recipe 'quick'" in sentence("--data", str(glands), "-o", str(target), "--recipe", "quick")
    assert "must end in .safetensors" in sentence("--data", str(glands), "-o", str(tmp_path / "own.pth"))
    assert "invalid int value" in sentence("--data", "d", "-o", "w.safetensors", "--steps", "many", code=2)
    monkeypatch.delenv("SAMPATH_DATA", raising=False)
    assert "--data is missing" in sentence("-o", str(target))
    assert not target.exists()


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A dataset of 4 images with the classes background and disc."""
    folder = tmp_path / "discs"
    for number in range(4):
        rng = np.random.default_rng(number)
        disc = np.roll(DISC, (5 * number, -7 * number), axis=(0, 1))
        pixels = np.where(disc[..., None], (120, 60, 140), (235, 200, 220)) + rng.normal(0, 5, (96, 96, 3))
        for kind, values in (("images", pixels.clip(0, 255)), ("labels", disc)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(folder / kind / f"{number}.png")
    (folder / "classes.json").write_text(json.dumps([{"id": 1, "name": "disc", "color": [200, 30, 60]}]))
    rows = [f"{number},slide {number},{'val' if number == 3 else 'train'}" for number in range(4)]
    (folder / "index.csv").write_text("\n".join(["name,group,split", *rows]))
    return folder


def test_train_evaluate_and_segment(
    labelled: Path, tiny_sam_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, labels = tmp_path / "discs.safetensors", tmp_path / "labels.png"
    model = ["--model", "sam", "--weights", str(tiny_sam_file), "--device", "cpu"]
    recipe = ["--epochs", "30", "--patience", "30", "--batch-size", "3", "--learning-rate", "0.01"]
    words = ["train", "--data", str(labelled), "--head", "linear", "-o", str(bundle), *recipe, *model]
    assert main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["bundle"] == str(bundle)
    iou = result["metrics"]["head"]["per_image"]["mean"]["iou"]
    assert iou > 0.6
    assert "Epoch 30 of 30" in captured.err

    words = ["evaluate", "--data", str(labelled), "--head", str(bundle), *model]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "discs, split val, 1 image" in text
    assert "over the best constant prediction: +" in text
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == ["background", "disc"]

    image = labelled / "images" / "3.png"
    assert main(["segment", str(image), "--head", str(bundle), "-o", str(labels), *model]) == 0
    assert "disc" in capsys.readouterr().out
    with Image.open(labels) as found, Image.open(labelled / "labels" / "3.png") as expected:
        predicted, true = np.asarray(found) > 0, np.asarray(expected) > 0
    assert (predicted & true).sum() / (predicted | true).sum() > 0.5


def test_train_gives_no_score_of_the_images_it_learned(
    tiny_sam_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = DatasetFolder.create(tmp_path / "discs", (ClassInfo(1, "disc", (200, 30, 60)),))
    folder.save_image(Snapshot("one slide", *disc_image(1)))
    words = ["train", "--data", str(folder.path), "--head", "linear", "--epochs", "1", "--device", "cpu"]
    output = ["-o", str(tmp_path / "one.safetensors"), "--model", "sam", "--weights", str(tiny_sam_file)]
    assert main([*words, *output]) == 0
    captured = capsys.readouterr()
    assert "Its quality is not measured" in captured.out
    assert "Dice" not in captured.out + captured.err


def test_train_on_several_folders(labelled: Path, tiny_sam_file: Path, tmp_path: Path) -> None:
    more, bundle = tmp_path / "more", tmp_path / "both.safetensors"
    shutil.copytree(labelled, more)
    words = ["train", "--data", str(labelled), "--also", str(more), "--head", "linear", "--epochs", "1"]
    assert main([*words, "-o", str(bundle), "--weights", str(tiny_sam_file), "--model", "sam"]) == 0
    data = load_head(bundle).metadata.data
    assert data["trained_on"] == 6, "the validation image of the other folder is left out"
    assert data["name"] == f"{labelled.name} + more"


def test_train_reports_errors(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "head.safetensors")

    def sentence(*words: str, code: int = 1) -> str:
        assert main(["train", "-o", target, *words]) == code
        return capsys.readouterr().err

    assert "epochs is 0" in sentence("--data", str(labelled), "--epochs", "0")
    assert "Did you mean 'monuseg'" in sentence("--data", str(labelled), "--recipe", "monusec")
    assert "crop_share is 2.0" in sentence("--data", str(labelled), "--recipe", "glas", "--crop-share", "2")
    assert "is not a dataset" in sentence("--data", str(tmp_path))
    assert "There is no folder" in sentence("--data", str(tmp_path / "none"))
    assert "invalid" in sentence("--data", str(labelled), "--head-argument", "depth", code=2)
    assert not (tmp_path / "head.safetensors").exists()


def test_unknown_head_and_head_argument(
    labelled: Path, tiny_sam_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", "sam", "--weights", str(tiny_sam_file), "--device", "cpu"]
    words = ["train", "--data", str(labelled), "-o", str(tmp_path / "head.safetensors"), *model]
    assert main([*words, "--head", "cn"]) == 1
    assert "Did you mean 'cnn'?" in capsys.readouterr().err
    assert main([*words, "--head", "cnn", "--head-argument", "dept=3"]) == 1
    assert "Did you mean 'depth'?" in capsys.readouterr().err


@dataclass
class _Recipe:
    """Settings for the tests below."""

    rate: float = 0.5
    """How fast,
    at 50 % of the most."""
    name: str | None = None
    """Name of it."""
    deep: bool = True
    sizes: tuple[int, ...] = (1, 2)
    """Not a plain value, so no flag."""


def test_fields_of_a_dataclass_become_flags() -> None:
    parser = argparse.ArgumentParser()
    add_fields(parser, _Recipe, "recipe")
    assert from_args(_Recipe, parser.parse_args([])) == _Recipe()
    given = parser.parse_args(["--rate", "2", "--name", "x", "--no-deep"])
    assert from_args(_Recipe, given) == _Recipe(2.0, "x", False)
    text = " ".join(parser.format_help().split())
    assert "How fast, at 50 % of the most. (default: 0.5)" in text
    assert "--sizes" not in text


def test_every_field_of_the_config_is_documented_and_has_a_flag() -> None:
    parser = argparse.ArgumentParser()
    add_fields(parser, PromptTuningConfig, "recipe")
    flags = {action.dest for action in parser._actions} - {"help"}
    assert flags == {field.name for field in fields(PromptTuningConfig)}
    undocumented = flags - set(field_docs(PromptTuningConfig))
    assert undocumented <= {"weight_decay", "device", "seed"}
