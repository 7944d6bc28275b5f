"""A pipe, a device, a folder or a missing file in place of every path of every command ends in one sentence at once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_sampath.cli import SUBCOMMANDS, main

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes in folders"),
]

KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/null"),
    "folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: None,
    "circle": lambda path: path.symlink_to(path.name),
    "long": lambda path: None,
}

# {bad} is the special file; {image}, {labels}, {set}, {weights} are valid, {out} does not exist.
READ = {
    "encode image": "encode {bad}",
    "encode token_file": "encode {image} --runs-on http://127.0.0.1:9 --token-file {bad}",
    "encode weights": "encode {image} --model sam --weights {bad}",
    "prompt image": "prompt {bad} --point 3,3 -o {out}.png",
    "prompt mask": "prompt {image} --mask {bad} -o {out}.png {model}",
    "prompt weights": "prompt {image} --point 3,3 -o {out}.png --model sam --weights {bad}",
    "segment image": "segment {bad} --head gland-cnn -o {out}.png",
    "segment head": "segment {image} --head {bad} -o {out}.png",
    "everything image": "everything {bad} -o {out}.json {model}",
    "similar image": "similar {bad} --object 9,9 -o {out}.png {model}",
    "text image": "text {bad} --objects {labels} --prompt a -o {out}",
    "text objects": "text {image} --objects {bad} --prompt a -o {out}",
    "text weights": "text {image} --objects {labels} --prompt a -o {out} --model ViT-B-32 --weights {bad}",
    "measure source": "measure {bad} -o {out}.csv",
    "measure labels": "measure {image} --labels {bad} -o {out}.csv",
    "figure source": "figure {bad} -o {out}.png",
    "dataset folder": "dataset check {bad}",
    "dataset rank": "dataset rank {bad}",
    "dataset weights": "dataset rank {set} --model sam --weights {bad}",
    "slide slide": "slide info {bad}",
    "train data": "train --data {bad} -o {out}.safetensors",
    "train also": "train --data {set} --also {bad} -o {out}.safetensors",
    "train start": "train --data {set} -o {out}.safetensors --start {bad}",
    "train weights": "train --data {set} -o {out}.safetensors --model sam --weights {bad}",
    "evaluate head": "evaluate --data {set} --head {bad}",
    "evaluate data": "evaluate --data {bad} --head gland-cnn",
    "tune data": "tune --data {bad} -o {out}.safetensors",
    "tune start": "tune --data {set} --start {bad} -o {out}.safetensors",
    "tune from_dataset": "tune --from-dataset {bad}",
    "tune merge": "tune --data {set} --merge {bad} {bad} -o {out}.safetensors",
    "export source": "export {bad} -o {out}",
    "export result": "export {image} -o {out} --result {bad}",
    "import labels": "import {bad} {image}",
    "import image": "import {labels} {bad}",
    "import journal": "import {labels} {image} --journal {bad}",
    "demo image": "demo {bad}",
    "project show": "project show {bad}",
    "project add": "project add {bad} {image}",
    "project check": "project check {bad}",
    "project pack": "project pack {bad} {out}.zip",
    "project unpack": "project unpack {out} {bad}",
    "project merge": "project merge {bad} {bad}",
}
WRITTEN = {
    "prompt output": "prompt {image} --point 3,3 -o {bad} {model}",
    "export output": "export {image} -o {bad}",
}


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory, tiny_sam_file: Path) -> dict[str, str]:
    """Valid paths for the arguments that are not tested."""
    folder = tmp_path_factory.mktemp("valid")
    image, labels, dataset = folder / "image.png", folder / "labels.png", folder / "set"
    pixels = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image)
    Image.fromarray((pixels[..., 0] > 200).astype(np.uint8)).save(labels)
    for kind, file in (("images", image), ("labels", labels)):
        (dataset / kind).mkdir(parents=True)
        for name in "ab":
            (dataset / kind / f"{name}.png").write_bytes(file.read_bytes())
    model = f"--model sam --weights {tiny_sam_file} --device cpu"
    return {"image": str(image), "labels": str(labels), "set": str(dataset), "model": model}


def make_special(kind: str, folder: Path) -> Path:
    path = folder / ("x" * 300 + ".png" if kind == "long" else "bad.png")
    KINDS[kind](path)
    return path


# `demo` reads the image as `segment` does, but in a process that imports napari first.
PAIRS = [(case, kind) for case in READ for kind in KINDS if case != "demo image" or kind == "pipe"]


@pytest.mark.parametrize(("case", "kind"), PAIRS)
def test_special_files_are_refused(
    case: str, kind: str, valid: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = make_special(kind, tmp_path)
    words = [word.format(bad=bad, out=tmp_path / "out", **valid) for word in READ[case].split()]
    words = [part for word in words for part in (word.split() if " --" in word else [word])]
    code = main(["--quiet", *words])
    error = capfd.readouterr().err
    if case == "import journal" and kind in ("missing", "empty"):
        return  # a new journal
    assert code in (1, 2), error
    assert error.startswith(("sampath: ", "usage: ")), error
    assert error.count("\n") == 1 or error.startswith("usage: "), error
    assert "Traceback" not in error
    assert "Internal error" not in error
    if kind == "pipe":
        assert bad.is_fifo(), "it is not replaced"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", WRITTEN)
def test_special_files_are_not_overwritten(
    case: str, kind: str, valid: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = make_special(kind, tmp_path)
    if kind in ("missing", "empty") or (kind == "folder" and case == "export output"):
        return
    words = [word.format(bad=bad, **valid) for word in WRITTEN[case].split()]
    words = [part for word in words for part in (word.split() if " --" in word else [word])]
    code = main(["--quiet", *words])
    error = capfd.readouterr().err
    assert code in (1, 2), error
    assert "Internal error" not in error
    if kind == "pipe":
        assert bad.is_fifo()
    if kind in ("device", "terminal", "circle"):
        assert bad.is_symlink()


def test_every_path_is_covered() -> None:
    """A new path argument needs a line in the table above."""
    covered = {*READ, *WRITTEN}
    # Of these, the same code reads the file as in a command that is covered.
    models = ("demo", "everything", "segment", "similar", "evaluate", "bench", "import", "serve")
    covered |= {f"{name} weights" for name in models} | {"prompt text_weights", "tune text_weights"}
    # Tokens and certificates are tested with the server.
    covered |= {
        f"{name} {file}" for name in SUBCOMMANDS for file in ("token_file", "ca", "certificate", "key")
    }
    covered |= {
        "segment output",
        "everything output",
        "similar output",
        "text output",
        "measure output",
        "measure classes",
        "figure output",
        "segment confidence",
        "evaluate html",
        "train output",
        "tune output",
        "slide output",  # `sampath slide pyramid` replaces no file.
    }
    for name, subcommand in SUBCOMMANDS.items():
        parser = argparse.ArgumentParser()
        subcommand.arguments(parser)
        for action in parser._actions:
            if action.type is Path:
                key = f"{name} {action.dest}"
                assert key in covered or f"{name} {action.dest.rstrip('s')}" in covered, key
