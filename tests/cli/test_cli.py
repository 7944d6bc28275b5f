from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skimage.data
import tifffile
import torch
from benchmarks.tiny_sam import build_tiny_sam
from PIL import Image

import napari_sampath
from napari_sampath.arrays import ClassInfo, FeatureSpec, Prompts
from napari_sampath.cli import SUBCOMMANDS, build_parser, main
from napari_sampath.config import load_config
from napari_sampath.geometry import Frame, whole
from napari_sampath.heads import EncoderRef, Metadata, create, list_bundles, save_bundle
from napari_sampath.predict import local_mask
from napari_sampath.predict.decoder.candidates import best_first, corrected
from napari_sampath.predict.everything.everything import segment_everything
from napari_sampath.predict.everything.settings import EverythingSettings
from napari_sampath.store import Store

if TYPE_CHECKING:
    from pathlib import Path

SUBCOMMAND_NAMES = [
    *["demo", "models", "encode", "cache", "prompt", "segment", "everything", "similar", "text"],
    *["slide", "project", "dataset", "train", "evaluate", "tune", "measure", "export", "import"],
    *["figure", "serve", "bench", "doctor"],
]


@pytest.fixture(scope="session")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with one tissue image of 256 rows and 320 columns as PNG, JPEG and TIFF."""
    folder = tmp_path_factory.mktemp("tissue")
    pixels = skimage.data.immunohistochemistry()[100:356, 120:440]
    Image.fromarray(pixels).save(folder / "tissue.png")
    Image.fromarray(pixels).save(folder / "tissue.jpg", quality=90)
    tifffile.imwrite(folder / "tissue.tif", pixels, photometric="rgb")
    return folder


@pytest.fixture
def tiny(tiny_sam_file: Path) -> list[str]:
    """Flags that choose a small model with random weights."""
    return ["--model", "sam", "--weights", str(tiny_sam_file), "--device", "cpu"]


def shell(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m napari_sampath` in a separate process."""
    return subprocess.run(
        [sys.executable, "-m", "napari_sampath", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | environment,
    )


def test_list_of_subcommands() -> None:
    assert list(SUBCOMMANDS) == SUBCOMMAND_NAMES


@pytest.mark.parametrize("subcommand", SUBCOMMAND_NAMES)
def test_help_shows_an_example_that_parses(subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([subcommand, "--help"]) == 0
    text = capsys.readouterr().out
    example = SUBCOMMANDS[subcommand].example
    assert example in text
    for line in example.splitlines():
        words = shlex.split(line)
        assert words[:2] == ["sampath", subcommand]
        assert build_parser(words).parse_args(words[1:]).subcommand == subcommand


def test_version_and_no_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"napari-sampath {napari_sampath.__version__}\n"
    assert main([]) == 2
    assert "SUBCOMMAND" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["paint"],
        ["prompt"],
        ["prompt", "a.png", "-o", "m.png", "--box", "1,2,3"],
        ["models", "--colour", "red"],
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: sampath" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize("written", ["mask.png", "mask.tif"])
def test_prompt_writes_the_same_mask_as_the_api(
    ending: str, written: str, tissue: Path, tiny: list[str], tiny_sam_file: Path, tmp_path: Path
) -> None:
    image, target = tissue / f"tissue.{ending}", tmp_path / "new" / written
    words = ["prompt", str(image), "--box", "100,60,200,180", "--negative", "150,120", "-o", str(target)]
    assert main([*words, *tiny, "--quiet"]) == 0
    mask = np.asarray(Image.open(target)) if written.endswith("png") else tifffile.imread(target)
    assert mask.shape == (256, 320)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255}

    model = napari_sampath.load_model("sam", "cpu", tiny_sam_file, Store.from_config(load_config()))
    features = model.encode(np.asarray(Image.open(image)))
    prompts = Prompts(np.array([[150.0, 120.0]]), np.array([0]), np.array([100.0, 60.0, 200.0, 180.0]))
    logits, _ = best_first(model, features, prompts)
    followed = corrected(logits[0], prompts.points_xy, prompts.labels, features.frame)
    np.testing.assert_array_equal(mask == 255, local_mask(features.frame, followed).to_dense((256, 320)))
    assert mask[120, 150] == 0, "a negative point is followed"


@pytest.mark.parametrize("flags", [[], ["--closer"]])
def test_point_prompt_writes_the_best_of_three_candidates(
    flags: list[str],
    tissue: Path,
    tiny: list[str],
    tiny_sam_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "mask.png"
    words = ["--json", "prompt", str(tissue / "tissue.png"), "--point", "160,128", "-o", str(target), *flags]
    assert main([*words, *tiny]) == 0
    output = json.loads(capsys.readouterr().out)
    model = napari_sampath.load_model("sam", "cpu", tiny_sam_file)
    frame = Frame(48, 80, 160, 160) if flags else whole((256, 320))
    image = np.asarray(Image.open(tissue / "tissue.png"))
    answer = model.predict(model.encode(image, frame), [(160, 128)])
    mask = np.asarray(Image.open(target)) == 255
    np.testing.assert_array_equal(mask[frame.slices], answer.masks[answer.best])
    assert mask.sum() == answer.masks[answer.best].sum(), "and nothing outside of the tile"
    assert output["score"] == pytest.approx(float(answer.scores.max()), abs=1e-4)
    assert output["area_px"] == int(answer.masks[answer.best].sum())
    assert output["mask"] == str(target)


def test_mask_prompt_on_a_large_image(tiny: list[str], tmp_path: Path) -> None:
    pixels = np.tile(skimage.data.immunohistochemistry(), (4, 5, 1))  # 2048 x 2560: encoded tile by tile
    painted = np.zeros(pixels.shape[:2], np.uint8)
    painted[1800:1900, 2300:2420] = 7
    tifffile.imwrite(tmp_path / "large.tif", pixels, photometric="rgb")
    tifffile.imwrite(tmp_path / "painted.tif", painted)
    target = tmp_path / "mask.tif"
    words = [
        "prompt",
        str(tmp_path / "large.tif"),
        "--mask",
        str(tmp_path / "painted.tif"),
        "-o",
        str(target),
    ]
    assert main([*words, *tiny, "--quiet"]) == 0
    mask = tifffile.imread(target)
    assert mask.shape == pixels.shape[:2]
    assert mask.any()
    assert not mask[:1024, :1024].any()  # only the tile around the prompt is encoded


@pytest.fixture(scope="session")
def bundle(tiny_sam_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Head with random weights for the features of the small model."""
    torch.manual_seed(0)
    encoder = napari_sampath.load_model("sam", "cpu", tiny_sam_file).encoder
    spec = FeatureSpec(tuple(info for info in encoder.spec.maps if info.name == "embedding"))
    classes = ClassInfo(0, "background", (0, 0, 0)), ClassInfo(3, "gland", (200, 30, 60))
    head = create("linear", spec, classes)
    with torch.no_grad():
        for weights in head.parameters():
            weights.normal_(std=0.5)
    refs = (EncoderRef("sam", encoder.weights_digest, encoder.preprocessing_version),)
    metadata = Metadata("random-glands", refs, licence="none")
    return save_bundle(tmp_path_factory.mktemp("bundle") / "head.safetensors", head, metadata)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_segment_writes_class_map_and_confidence(
    ending: str,
    tissue: Path,
    tiny: list[str],
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image, labels, sure = tissue / f"tissue.{ending}", tmp_path / f"labels.{ending}", tmp_path / "sure.tif"
    if ending == "jpg":
        labels = labels.with_suffix(".tif")
    words = ["segment", str(image), "--head", str(bundle), "-o", str(labels), "--confidence", str(sure)]
    assert main([*words, *tiny, "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    model = napari_sampath.load_model("sam", "cpu", tiny[3], store=Store.from_config(load_config()))
    expected = napari_sampath.segment(np.asarray(Image.open(image)), napari_sampath.load_head(bundle), model)
    with Image.open(labels) as written:
        labels_written = np.asarray(written)
        if ending == "png":
            assert written.mode == "P"
            assert written.getpalette()[9:12] == [200, 30, 60]
    np.testing.assert_array_equal(labels_written, expected.labels)
    assert set(np.unique(labels_written)) == {0, 3}
    np.testing.assert_array_equal(tifffile.imread(sure), expected.confidence)
    shares = {row["name"]: row["share"] for row in output["classes"]}
    assert shares == {
        "background": pytest.approx((labels_written == 0).mean()),
        "gland": pytest.approx((labels_written == 3).mean()),
    }


def test_segment_rejects_one_name_for_two_outputs(
    tissue: Path, tiny: list[str], bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.tif"
    words = ["segment", str(tissue / "tissue.png"), "--head", str(bundle), "-o", str(out), *tiny]
    assert main([*words, "--confidence", str(tmp_path / "folder" / ".." / "out.tif")]) == 1
    assert "are both" in capsys.readouterr().err
    assert not out.exists()


def test_segment_rejects_missing_heads_and_heads_of_another_model(
    tissue: Path, tiny: list[str], bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["segment", str(tissue / "tissue.png"), "-o", str(tmp_path / "labels.tif"), *tiny]
    assert main([*words, "--head", "no-such-head"]) == 1
    assert "There is no trained head 'no-such-head'" in capsys.readouterr().err
    assert main([*words, "--head", str(tmp_path / "none.safetensors")]) == 1
    assert "There is no bundle" in capsys.readouterr().err
    other = tmp_path / "other.pth"
    torch.save(build_tiny_sam(seed=1).state_dict(), other)
    assert main([*words, "--head", str(bundle), "--weights", str(other)]) == 1
    assert "was trained on 'sam' with the weights" in capsys.readouterr().err
    assert not (tmp_path / "labels.tif").exists()


def test_everything_writes_the_same_masks_as_the_api(
    tissue: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--points-per-side", "2", "--pred-iou-thresh", "-9", "--stability-score-thresh", "0"]
    settings += ["--box-nms-thresh", "1"]
    outputs = []
    for target in (tmp_path / "objects.png", tmp_path / "objects.tif"):
        words = ["everything", str(tissue / "tissue.png"), "-o", str(target), *settings, *tiny, "--json"]
        assert main(words) == 0
        outputs.append(json.loads(capsys.readouterr().out)["objects"])
    with Image.open(tmp_path / "objects.png") as written:
        numbers = np.asarray(written)
    np.testing.assert_array_equal(numbers, tifffile.imread(tmp_path / "objects.tif"))
    assert outputs[0] == outputs[1]

    model = napari_sampath.load_model("sam", "cpu", tiny[3], store=Store.from_config(load_config()))
    wanted = EverythingSettings(2, pred_iou_thresh=-9, stability_score_thresh=0, box_nms_thresh=1)
    with Image.open(tissue / "tissue.png") as image:
        masks = segment_everything(np.asarray(image), model, wanted)
    assert len(masks) >= 2
    assert sorted(row["area_px"] for row in outputs[0]) == sorted(mask.area_px for mask in masks)
    best = max(masks, key=lambda mask: mask.predicted_iou)
    smallest = min(masks, key=lambda mask: mask.area_px)
    assert outputs[0][0]["predicted_iou"] == pytest.approx(best.predicted_iou, abs=1e-4)
    on_top = numbers[smallest.mask.slices][smallest.mask.bitmap]
    assert [outputs[0][number - 1]["area_px"] for number in np.unique(on_top)] == [smallest.area_px]
    np.testing.assert_array_equal(numbers > 0, sum(mask.mask.to_dense((256, 320)) for mask in masks) > 0)


def test_encode_fills_the_store_once(
    tissue: Path, tiny: list[str], own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["encode", str(tissue), *tiny, "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert (output["images"], output["tiles"], output["failed"]) == (3, 3, {})
    assert output["tiles_per_second"] > 0
    entries = list((own_cache / "features").rglob("*.safetensors"))
    assert len(entries) == 2  # PNG and TIFF hold the same pixels
    assert main(["encode", str(tissue / "tissue.png"), *tiny]) == 0
    assert "Encoded 1 tile of 1 image with sam" in capsys.readouterr().out
    assert len(list((own_cache / "features").rglob("*.safetensors"))) == 2


def test_encode_stores_the_tiles_of_clicks_and_of_heads(
    tiny: list[str], own_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(tmp_path / "wide.png")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 3000, 3), dtype=np.uint8)).save(image)
    counts = []
    for use in ("clicks", "heads", "both"):
        assert main(["encode", image, *tiny, "--for", use, "--json"]) == 0
        counts.append(json.loads(capsys.readouterr().out)["tiles"])
    assert counts == [5, 4, 7]

    def entries() -> int:
        return len(list((own_cache / "features").rglob("*.safetensors")))

    assert entries() == 7
    for x in range(100, 3000, 400):
        assert main(["prompt", image, "--point", f"{x},20", "-o", str(tmp_path / "mask.png"), *tiny]) == 0
    assert entries() == 7, "clicks use the stored tiles"


def test_encode_fails_without_a_store(
    tissue: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMPATH_CACHE_LIMIT_BYTES", "0")
    assert main(["encode", str(tissue / "tissue.png"), *tiny]) == 1
    assert "cannot be written to disk" in capsys.readouterr().err


def test_encode_stops_if_features_cannot_be_written(
    tissue: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "features").write_text("a file in the way")
    assert main(["encode", str(tissue), *tiny, "--cache", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert "cannot be written to disk" in shown
    assert "2 of 3" not in shown


def test_cache_info_verify_and_clear(
    tissue: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ["--cache", str(tmp_path), "--quiet"]

    def cache_output(*words: str) -> dict[str, object]:
        capsys.readouterr()
        assert main(["cache", *words, *cache, "--json"]) == 0
        values: dict[str, object] = json.loads(capsys.readouterr().out)
        return values

    assert cache_output("info")["tiles"] == 0
    assert main(["encode", str(tissue / "tissue.png"), *tiny, *cache]) == 0
    info = cache_output("info")
    assert (info["tiles"], info["folder"]) == (1, str(tmp_path / "features"))
    (entry,) = tmp_path.rglob("*.safetensors")
    assert info["bytes"] == entry.stat().st_size
    assert cache_output("verify") == {"folder": info["folder"], "tiles": 1, "dropped": 0}
    entry.write_bytes(entry.read_bytes()[:-1])
    assert cache_output("verify")["dropped"] == 1
    assert main(["encode", str(tissue / "tissue.png"), *tiny, *cache]) == 0
    assert cache_output("clear")["tiles"] == 1
    assert cache_output("info")["bytes"] == 0
    assert main(["cache", "info", *cache]) == 0
    assert "0 tiles, 0.0 MB of " in capsys.readouterr().out


def test_encode_skips_broken_images(
    tissue: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes((tissue / "tissue.png").read_bytes()[:2000])
    (tmp_path / "b.png").write_bytes((tissue / "tissue.png").read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    assert main(["encode", str(tmp_path), *tiny, "--json"]) == 1
    captured = capsys.readouterr()
    output = json.loads(captured.out)
    assert (output["images"], output["tiles"]) == (1, 1)
    assert list(output["failed"]) == [str(tmp_path / "a.png")]
    assert "truncated" in captured.err


def test_progress_is_on_stderr_and_quiet_silences_it(
    tissue: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(tissue / "tissue.jpg")
    assert main(["encode", image, *tiny, "--cache", str(tissue / "cache")]) == 0
    captured = capsys.readouterr()
    assert "tissue.jpg (1 of 1)" in captured.err
    assert "1/1" in captured.err
    assert "1/1" not in captured.out
    assert list((tissue / "cache" / "features").rglob("*.safetensors"))
    assert main(["encode", image, *tiny, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_bench_times_the_encoder_and_a_click(
    tiny: list[str], own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *tiny, "--repeats", "2", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert (output["model"], output["device"], output["precision"]) == ("sam", "cpu", "float32")
    assert output["encode_seconds"] > 0
    assert output["click_seconds"] > 0
    assert not list(own_cache.rglob("*.safetensors")), "bench must not use the store"
    assert main(["bench", *tiny, "--repeats", "1"]) == 0
    assert "for a click" in capsys.readouterr().out


def test_models_lists_encoders_heads_and_local_weights(
    own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_cache / "weights").mkdir(parents=True)
    (own_cache / "weights" / "sam_vit_b_01ec64.pth").write_bytes(b"x")
    assert main(["models", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    encoders = {line["name"]: line for line in output["encoders"]}
    assert set(encoders) == set(napari_sampath.list_encoders())
    assert encoders["vit_b"]["weights"] == "downloaded"
    assert encoders["vit_h"]["weights"] == "not downloaded"
    assert encoders["sam"]["weights"] == "your own"
    assert encoders["vit_b"]["licence"] == "Apache-2.0"
    assert {line["name"] for line in output["heads"]} == set(list_bundles())
    assert {line["name"] for line in output["kinds_of_head"]} == set(napari_sampath.list_heads())
    assert main(["models", "vit_[blh]"]) == 0
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines()] == ["ENCODER", "vit_b", "vit_l", "vit_h"]


def test_flags_override_the_environment_without_changing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(os.environ)
    configs = []

    def record(*_: object) -> None:
        assert dict(os.environ) == before
        configs.append(load_config())

    command = dataclasses.replace(SUBCOMMANDS["models"], run=record)
    monkeypatch.setitem(SUBCOMMANDS, "models", command)
    assert main(["models", "--cache", str(tmp_path), "--device", "cuda:7"]) == 0
    assert (configs[0].cache_dir, configs[0].device) == (tmp_path, "cuda:7")
    assert load_config().device == "auto"
    assert str(load_config().cache_dir) == os.environ["SAMPATH_CACHE"]


def test_interrupt_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    command = dataclasses.replace(SUBCOMMANDS["models"], run=interrupted)
    monkeypatch.setitem(SUBCOMMANDS, "models", command)
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "\nsampath: interrupted.\n"


@pytest.mark.skipif(os.name != "posix", reason="needs a shell with pipes")
def test_broken_pipe_is_quiet() -> None:
    command = f"{shlex.quote(sys.executable)} -m napari_sampath models | true; echo code ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)
    assert result.stderr == ""
    assert result.stdout.strip() in ("code 141", "code 0")  # 0 if the pipe took everything before it closed


def test_bugs_are_reported_in_one_sentence_unless_debugging() -> None:
    program = (
        "import dataclasses, sys, napari_sampath.cli as cli\n"
        "def broken(args, output): raise TypeError('two\\nlines')\n"
        "cli.SUBCOMMANDS['models'] = dataclasses.replace(cli.SUBCOMMANDS['models'], run=broken)\n"
        "sys.argv = ['sampath', 'models']\n"
        "sys.exit(cli.main())"
    )
    for debug, traceback in (("", False), ("1", True)):
        result = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"SAMPATH_DEBUG": debug},
        )
        assert result.returncode == 1
        assert ("Traceback" in result.stderr) is traceback
        assert "TypeError: two" in result.stderr
        if not traceback:
            assert result.stderr.count("\n") == 1
            assert "please report this bug" in result.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    words = ["prompt", str(tmp_path / "none.png"), "--point", "1,1", "-o", str(tmp_path / "m.png")]
    result = shell(*words, SAMPATH_DEBUG="1")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "ImageError" in result.stderr
