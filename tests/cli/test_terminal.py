"""Names from other people's files cannot control the terminal."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_sampath.cli import main
from napari_sampath.cli.output import Output, table
from napari_sampath.errors import ImageError, printable

EVIL = "\x1b]0;pwned\x07\x1b[31mred\x9b2J\u202egnp.exe\u2066\r"


def is_safe(text: str) -> bool:
    return all(letter in "\n\t" or letter.isprintable() for letter in text)


def test_printable_keeps_what_people_write() -> None:
    for text in ("Lymphozyten – dicht", "ü×%", "腺体", "a\tb\nc", "🔬", "x²", "سرطان"):
        assert printable(text) == text
    assert printable("\x1b[2J\x07\u202e\udcff") == "\\x1b[2J\\x07\\u202e\\udcff"


def test_an_error_is_one_line_without_control_characters() -> None:
    text = str(ImageError(f"'{EVIL}' has\r\n  two lines; use one."))
    assert is_safe(text)
    assert "\n" not in text
    assert "red" in text


def test_results_notes_and_logs(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.result({"name": EVIL}, f"name: {EVIL}\nnext")
    output.note(EVIL)
    output.result({}, table(["name"], [[EVIL], ["short"]]))
    Output(as_json=True).result({"name": EVIL}, "")
    captured = capsys.readouterr()
    assert is_safe(captured.out)
    assert is_safe(captured.err)
    assert "name: \\x1b]0;pwned" in captured.out
    assert json.loads(captured.out.splitlines()[-1]) == {"name": EVIL}


def test_log_messages() -> None:
    from napari_sampath.cli import _Formatter

    record = logging.LogRecord("x", logging.WARNING, "", 0, "%s is ignored", (EVIL,), None)
    assert is_safe(_Formatter("sampath: %(message)s").format(record))


def test_import_of_a_file_with_escape_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of images and classes in the file, with and without an error."""
    image = tmp_path / "tile.png"
    Image.fromarray(np.zeros((64, 80, 3), np.uint8)).save(image)
    categories = [{"id": 1, "name": EVIL}]
    images = [{"id": n, "file_name": f"{EVIL}{n}", "height": 64, "width": 80} for n in (1, 2)]
    entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    for count in (1, 2):
        file = tmp_path / f"{count}.json"
        content = {"images": images[:count], "categories": categories, "annotations": [entry]}
        file.write_text(json.dumps(content))
        for words in (["import", str(file), "--image", str(image)], ["import", str(file), str(image)]):
            main(words)
    captured = capsys.readouterr()
    assert is_safe(captured.out + captured.err), captured


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_names_of_files_that_are_no_unicode(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[2J.png"))
    path.write_bytes(b"no image")
    assert main(["segment", str(path), "--head", "gland-cnn", "--output", str(tmp_path / "x.png")]) != 0
    captured = capfd.readouterr()
    assert is_safe(captured.out + captured.err)
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "words",
    [["import", "", "a.png"], ["export", "a.png", "-o", ""], ["dataset", "check", ""], ["slide", "info", ""]],
)
def test_an_empty_path_is_not_the_working_directory(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "the path is empty; give a file or folder" in capsys.readouterr().err
