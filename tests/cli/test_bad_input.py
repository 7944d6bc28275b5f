"""Wrong input on the command line: one sentence, exit code 1 or 2, no data lost."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skimage.data
import tifffile
import torch
from PIL import Image

from napari_sampath.cli import main
from support.small_disk import mounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TISSUE = skimage.data.immunohistochemistry()[:128, :160]


class Runner:
    """Runs the command line in this process and checks the form of its output."""

    def __init__(self, capsys: pytest.CaptureFixture[str], weights: Path) -> None:
        self._capsys = capsys
        self.tiny = ["--model", "sam", "--weights", str(weights), "--device", "cpu"]

    def fails(self, *words: str, code: int = 1) -> str:
        """Return the error message of a command that fails."""
        assert main(["--quiet", *words]) == code
        captured = self._capsys.readouterr()
        assert captured.out == ""
        return one_sentence(captured.err)

    def works(self, *words: str) -> str:
        """Return the notes on stderr of a command that succeeds."""
        assert main([*words]) == 0
        return self._capsys.readouterr().err


def one_sentence(error: str) -> str:
    assert error.count("\n") == 1, error
    assert error.startswith("sampath: ")
    assert error.endswith((".\n", "'.\n"))
    assert "Traceback" not in error
    return error


@pytest.fixture
def sampath(capsys: pytest.CaptureFixture[str], tiny_sam_file: Path) -> Runner:
    return Runner(capsys, tiny_sam_file)


@pytest.fixture
def tissue(tmp_path: Path) -> str:
    path = tmp_path / "tissue.png"
    Image.fromarray(TISSUE).save(path)
    return str(path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path)


def tiff(array: np.ndarray, **options: object) -> Callable[[Path], object]:
    return lambda path: tifffile.imwrite(path, array, **options)


def damaged(path: Path) -> None:
    Image.fromarray(TISSUE).save(path, format="PNG")
    path.write_bytes(path.read_bytes()[:3000])


BAD_IMAGES = {
    "two channels": (tiff(np.ascontiguousarray(TISSUE[..., :2]), photometric="minisblack"), "has 2 channels"),
    "3 px wide": (tiff(TISSUE[:, :3].copy(), photometric="rgb"), "3 x 128 px"),
    "all one value": (tiff(np.full((64, 64, 3), 200, np.uint8), photometric="rgb"), "the same value, 200"),
    "not a number": (tiff(np.full((64, 64), np.nan, np.float32)), "not"),
    "no bytes": (lambda path: path.write_bytes(b""), "is empty"),
    "truncated": (damaged, "truncated or damaged"),
    "text": (lambda path: path.write_text("a letter, not an image"), "not a readable image"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "absent": (lambda path: None, "There is no file"),
    "stack": (tiff(np.zeros((5, 64, 64), np.uint8), photometric="minisblack"), "5"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_prompt_rejects_bad_images(case: str, sampath: Runner, tmp_path: Path) -> None:
    make, words = BAD_IMAGES[case]
    path, target = tmp_path / "scan.tif", tmp_path / "mask.png"
    make(path)
    sentence = sampath.fails("prompt", str(path), "--point", "2,2", "-o", str(target), *sampath.tiny)
    assert words in sentence
    assert "scan" in sentence
    assert not target.exists()


# A folder of images can be encoded.
@pytest.mark.parametrize("case", [case for case in BAD_IMAGES if case != "folder"])
def test_encode_rejects_bad_images(case: str, sampath: Runner, tmp_path: Path) -> None:
    make, words = BAD_IMAGES[case]
    path = tmp_path / "scan.tif"
    make(path)
    assert words in sampath.fails("encode", str(path), *sampath.tiny)


def test_encode_rejects_a_folder_without_images(sampath: Runner, tmp_path: Path) -> None:
    assert "contains no image" in sampath.fails("encode", str(tmp_path), *sampath.tiny)


CONVERTED = {
    "one channel": (tiff(TISSUE[..., 0].copy()), "one channel was repeated as grey"),
    "four channels": (
        tiff(
            np.dstack([TISSUE, np.full((128, 160), 255, np.uint8)]),
            photometric="rgb",
            extrasamples=["unassalpha"],
        ),
        "alpha",
    ),
    "float": (tiff(TISSUE.astype(np.float32) / 255, photometric="rgb"), "float"),
    "uint16": (tiff(TISSUE.astype(np.uint16) * 200, photometric="rgb"), "uint16"),
}


@pytest.mark.parametrize("case", CONVERTED)
def test_conversion_of_an_image_is_reported(case: str, sampath: Runner, tmp_path: Path) -> None:
    make, words = CONVERTED[case]
    path, target = tmp_path / "scan.tif", tmp_path / "mask.png"
    make(path)
    notes = sampath.works("prompt", str(path), "--point", "80,64", "-o", str(target), *sampath.tiny)
    assert words in notes
    assert notes.startswith("sampath: 'scan': ")
    with Image.open(target) as mask:
        assert mask.size == (160, 128)


def test_only_the_tile_of_the_prompt_is_encoded_in_a_wide_image(sampath: Runner, tmp_path: Path) -> None:
    wide = np.tile(TISSUE, (2, 125, 1))
    assert wide.shape[1] == 20_000
    path, target = tmp_path / "wide.tif", tmp_path / "mask.tif"
    tifffile.imwrite(path, wide, photometric="rgb", compression="zlib")
    notes = sampath.works("prompt", str(path), "--point", "18000,128", "-o", str(target), *sampath.tiny)
    assert "20000 x 256 px" in notes
    assert "tile by tile" in notes
    mask = tifffile.imread(target)
    assert mask.shape == (256, 20_000)
    assert mask[:, 17_000:].any()
    assert not mask[:, :16_000].any()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (["--point", "160.5,20"], "x=160.5, y=20 lies outside the image of 160 x 128 px"),
        (["--point", "-5,3"], "x=-5, y=3 lies outside"),
        (["--point", "10,10", "--negative", "10,5000"], "x=10, y=5000 lies outside"),
        (["--box", "10,10,400,50"], "x=400, y=50 lies outside"),
        (["--box", "-10,10,40,50"], "x=-10, y=10 lies outside"),
        (["--box", "10,10,10.5,50"], "must be at least 1 px wide"),
        ([], "There is no prompt; give --point, --box, --mask or --text"),
        (
            ["--text", "a gland"],
            "were not trained with text prompts; train them with 'sampath tune --prompt clip'",
        ),
        (["--box", "9,9,40,50", "--text-model", "plip"], "give --text, or leave out --text-model"),
        (["--text", "a gland", "--high-resolution"], "--high-resolution needs a place in the image"),
    ],
)
def test_invalid_prompts_are_rejected(
    prompt: list[str], words: str, sampath: Runner, tissue: str, tmp_path: Path
) -> None:
    target = str(tmp_path / "mask.png")
    assert words in sampath.fails("prompt", tissue, *prompt, "-o", target, *sampath.tiny)


@pytest.mark.parametrize(
    "prompt", [["--box", "1,2,3"], ["--point", "a,b"], ["--point", "1,nan"], ["--point"]]
)
def test_malformed_prompts_are_wrong_usage(
    prompt: list[str], tissue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prompt", tissue, "-o", "mask.png", *prompt]) == 2
    assert "sampath prompt: error: argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda path: Image.fromarray(np.zeros((128, 160), np.uint8)).save(path),
            "is empty: all its pixels are 0",
        ),
        (
            lambda path: Image.fromarray(np.ones((20, 30), np.uint8)).save(path),
            "30 x 20 px, but its image is 160 x 128 px",
        ),
        (lambda path: path.write_bytes(b"x"), "The mask prompt cannot be used"),
        (lambda path: None, "There is no file"),
    ],
)
def test_invalid_mask_prompts_are_rejected(
    make: Callable[[Path], object], words: str, sampath: Runner, tissue: str, tmp_path: Path
) -> None:
    mask = tmp_path / "painted.png"
    make(mask)
    target = str(tmp_path / "mask.png")
    assert words in sampath.fails("prompt", tissue, "--mask", str(mask), "-o", target, *sampath.tiny)


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


def truncated(path: Path, weights: Path) -> None:
    path.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def other_model(path: Path, weights: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3, 3), "conv.bias": torch.zeros(3)}, path)


def incomplete(path: Path, weights: Path) -> None:
    state = torch.load(weights, weights_only=True)
    state.pop("mask_decoder.iou_token.weight")
    torch.save(state, path)


BAD_WEIGHTS = {
    "absent": (lambda path, weights: None, "no", "file"),
    "no weights": (lambda path, weights: path.write_text("hello"), "not a weights file", ".safetensors"),
    "truncated": (truncated, "truncated, damaged or not a weights file", "again"),
    "bad zip": (lambda path, weights: zipfile.ZipFile(path, "w").close(), "not a weights file", ".pth"),
    "other model": (other_model, "", "SAM"),
    "incomplete": (incomplete, "mask_decoder.iou_token.weight", ""),
    "code": (lambda path, weights: path.write_bytes(pickle.dumps(_Bomb())), "can run code", "safetensors"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_invalid_weights_are_rejected(
    case: str,
    sampath: Runner,
    tissue: str,
    tiny_sam_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, words, advice = BAD_WEIGHTS[case]
    path, target = tmp_path / "own.pth", tmp_path / "mask.png"
    make(path, tiny_sam_file)
    monkeypatch.chdir(tmp_path)
    sentence = sampath.fails(
        "prompt", tissue, "--point", "9,9", "-o", str(target), "--model", "sam", "--weights", str(path)
    )
    assert words in sentence
    assert advice in sentence
    assert str(path) in sentence
    assert not target.exists()
    assert not (tmp_path / "exploded").exists()


def test_failed_download_names_the_file_and_its_folder(tissue: str, own_cache: Path) -> None:
    nowhere = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    words = ["--quiet", "prompt", tissue, "--point", "9,9", "-o", "mask.png", "--model", "vit_b"]
    result = subprocess.run(
        [sys.executable, "-m", "napari_sampath", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=Path(tissue).parent,
        env={name: value for name, value in os.environ.items() if name.lower() != "no_proxy"} | nowhere,
    )
    assert result.returncode == 1
    sentence = one_sentence(result.stderr)
    assert "'sam_vit_b_01ec64.pth' (375" in sentence
    assert "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth" in sentence
    assert f"put it into '{own_cache / 'weights'}'" in sentence


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model", "vit_x"], "There is no encoder 'vit_x'. Did you mean"),
        (["--device", "toaster"], "This machine has no device 'toaster'"),
        (["--precision", "int3"], "int3"),
    ],
)
def test_unknown_names_are_rejected(
    words: list[str], expected: str, sampath: Runner, tissue: str, tmp_path: Path
) -> None:
    command = ["prompt", tissue, "--point", "9,9", "-o", str(tmp_path / "m.png")]
    assert expected in sampath.fails(*command, *sampath.tiny, *words)


def test_mask_is_not_written_as_jpeg(sampath: Runner, tissue: str) -> None:
    sentence = sampath.fails("prompt", tissue, "--point", "9,9", "-o", "mask.jpg")
    assert "its name must end in .png or .tif" in sentence


def test_full_disk_keeps_the_previous_mask(sampath: Runner, tissue: str, small_disk: Path) -> None:
    target = small_disk / "mask.png"
    target.write_bytes(b"an earlier mask")
    (small_disk / "filler").write_bytes(bytes(free_bytes(small_disk)))
    sentence = sampath.fails("prompt", tissue, "--point", "80,64", "-o", str(target), *sampath.tiny)
    assert "No space left" in sentence
    assert "the earlier content is untouched" in sentence
    assert target.read_bytes() == b"an earlier mask"


def free_bytes(folder: Path) -> int:
    """Return the number of free bytes of a file system."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_bsize


def test_errors_of_a_separate_process(tmp_path: Path, tissue: str) -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "napari_sampath",
            "prompt",
            tissue,
            "--point",
            "999,9",
            "-o",
            str(tmp_path / "m.png"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert "x=999, y=9 lies outside the image of 160 x 128 px" in one_sentence(result.stderr)
