"""`make demo` without a display and without tissue images."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from napari_sampath.cli import main
from napari_sampath.cli.commands.machine import demo
from napari_sampath.formats import import_labels
from support.display import in_own_display
from support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.gui
@pytest.mark.xdist_group("demo")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_headless_demo_writes_screenshots_labels_and_report(tmp_path: Path) -> None:
    pytest.importorskip("napari", reason="needs the extra 'gui'")
    output = tmp_path / "demo-output"
    result = subprocess.run(
        in_own_display(sys.executable, "-m", "benchmarks.demo", "--quick", "--output", str(output)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=840,
        env=os.environ | {"SAMPATH_DATA": str(tmp_path)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    report = (output / "report.md").read_text(encoding="utf-8")
    assert "Failed" not in report
    assert "| click to painted, median |" in report
    assert (output / "report.html").stat().st_size > 1000
    screenshots = sorted(output.glob("[0-9][0-9]-*.png"))
    assert len(screenshots) >= 10
    for screenshot in screenshots:
        with Image.open(screenshot) as image:
            assert image.size[0] > 1000
            assert len(np.unique(np.asarray(image.convert("L")))) > 50
    labels = import_labels(output / "labels")
    assert labels.class_map.shape == (512, 512)
    assert len(np.unique(labels.instance_map)) > 3


def test_demo_without_napari_fails_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_missing", lambda package: package == "napari")
    assert main(["demo"]) == 1
    assert 'pip install "napari-sampath[gui]"' in capsys.readouterr().err
