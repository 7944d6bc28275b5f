"""Run the commands and code of the README and the documentation."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from napari_sampath.cli import build_parser, main
from napari_sampath.encoders.tiny import tiny
from napari_sampath.heads import list_bundles
from support.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language; "" is that of blocks that name none."""
    fenced = re.findall(
        r"^```([a-z]*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [text for name, text in fenced if name == language]


def needs_weights() -> None:
    if not tiny.SAMPATH_TINY.weights.is_file() or "gland-cnn" not in list_bundles():
        pytest.skip("needs the shipped weights of sampath-tiny and the head 'gland-cnn'")


def test_python_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = blocks(ROOT / "README.md", "python")
    assert sum(bool(line.strip()) for line in program.splitlines()) <= 10
    needs_weights()
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    mask, classes = capsys.readouterr().out.split(maxsplit=1)
    assert 20 < int(mask) < 512 * 512 / 2
    assert sum(map(int, classes.strip(" []\n").split())) == 512 * 512


def test_shell_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (script,) = blocks(ROOT / "README.md", "bash")
    assert len(script.splitlines()) <= 10
    needs_weights()
    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.data.immunohistochemistry()).save(tmp_path / "tissue.png")
    for line in script.splitlines():
        words = shlex.split(line)
        words = words[1:] if words[0] == "sampath" else words[words.index("napari_sampath") + 1 :]
        assert main(words) == 0, f"{line}: {capsys.readouterr().err}"
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"mask.png", "mask.tif", "labels.tif", "confidence.tif"} <= written
    assert {"labels/tissue_classes.png", "labels/tissue_instances.tif", "labels/classes.json"} <= written
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.size == (512, 512)
        assert mask.getextrema() == (0, 255)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("${image%.png}", "image")
    shell = "\n".join([*blocks(page, "bash"), *blocks(page, "")]).replace("\\\n", " ")
    commands = re.findall(r"^ *(?:\$ )?(sampath [^|\n#]+)", shell, re.MULTILINE)
    commands += re.findall(r"`(sampath \w+ [^`]+)`", text)
    for command in commands:
        words = shlex.split(re.split(r" (?:\|\||>) ", command)[0])[1:]
        if "SUBCOMMAND" not in words:
            assert build_parser(words).parse_args(_without_help(words)).subcommand == words[0], command


def _without_help(words: list[str]) -> list[str]:
    """Replace `--help`, which would exit, by the required arguments."""
    return ["prompt", "a.png", "-o", "b.png"] if words[-1] == "--help" else words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_parse_and_links_exist(page: Path) -> None:
    for program in blocks(page, "python"):
        assert ast.parse(program).body
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
