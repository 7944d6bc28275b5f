"""The benchmarks run and their tables report met and missed bars; `make bench` measures the figures."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import __main__ as command
from benchmarks import table
from benchmarks.everything_memory import child

from napari_sampath.predict import EverythingSettings
from support.display import in_own_display
from support.paths import ROOT


def test_bars() -> None:
    Row = table.Row
    assert Row("a", "1", "2", 2.0, 2.0).verdict == "met"
    assert Row("a", "1", "2", 1.99, 2.0).verdict == "missed"
    assert Row("a", "1", "2", 0.5, None).verdict == "no bar"
    assert Row("a", "1", "", None, 1.0).missed
    assert table.limited("memory", 2.2, 2.1, "MB").verdict == "missed"
    assert table.limited("memory", 2.1, 2.1, "MB").verdict == "met"
    assert table.timed("click", {"ours": 0.02, "theirs": 0.05}, 2.0).cells()[1:6] == (
        *("20.0 ms", "50.0 ms"),
        *("2.50x", "2.00x", "met"),
    )


def test_calls_alternate() -> None:
    order: list[str] = []
    medians = table.alternate({name: lambda name=name: order.append(name) for name in "ab"}, repeats=3)
    assert order == list("ab" * 4)
    assert set(medians) == {"a", "b"}
    assert all(0 <= value < 0.1 for value in medians.values())


def test_page_reports_missed_bars() -> None:
    rows = [table.Row("slow", "2 s", "1 s", 0.5, 2.0), table.Row("fast", "1 s", "3 s", 3.0, 2.0, "why")]
    text = command.page(rows, command.machine())
    assert "| slow | 2 s | 1 s | 0.50x | 2.00x | missed |  |" in text
    assert "| fast | 1 s | 3 s | 3.00x | 2.00x | met | why |" in text
    assert "1 of 2 bars missed." in text
    assert "PyTorch" in text
    assert "All bars are met." in command.page(rows[1:], command.machine())


def test_rows_of_one_module_are_updated_on_the_page() -> None:
    rows = [table.Row("slow", "2 s", "1 s", 0.5, 2.0), table.Row("fast", "1 s", "3 s", 3.0, 2.0, "why")]
    before = command.page(rows, f"{command.machine()}\n- load average: click 1.0")
    new = [table.Row("slow", "1 s", "3 s", 3.0, 2.0), table.Row("other", "9 s", "3 s", 0.3, 1.0)]
    after = command.updated(before, ["startup"], new)
    assert "| slow | 1 s | 3 s | 3.00x | 2.00x | met |  |\n| fast |" in after
    assert "| other | 9 s" in after
    assert "click 1.0, startup " in after
    assert after.endswith("\n\n1 of 3 bars missed.\n")
    assert command.page(rows[1:], "").endswith("All bars are met.\n")


def test_separately_measured_modules_make_one_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(
        command,
        "_module",
        lambda name: argparse.Namespace(rows=lambda quick: [table.Row(name, "1", "2", 2.0, 1.0)]),
    )
    assert list(command.measured(["quick"], quick=True))
    assert not list(tmp_path.iterdir())
    assert [row.what for row in command.measured(["store"], quick=False)] == ["store"]
    assert command.stored_rows(["click", "store"]) is None
    list(command.measured(["click"], quick=False))
    rows, loads = command.stored_rows(["click", "store"])
    assert [row.what for row in rows] == ["click", "store"]
    assert rows[0].verdict == "met"
    assert "click" in loads


@pytest.mark.parametrize("name", ["click", "boxes", "store", "gpu"])
def test_quick_rows(name: str) -> None:
    rows = list(importlib.import_module(f"benchmarks.{name}").rows(quick=True))
    assert rows
    for row in rows:
        assert row.what
        assert row.ours
        assert row.ratio is None or row.ratio > 0


@pytest.mark.gui
@pytest.mark.xdist_group("latency")
@pytest.mark.slow
def test_quick_latency_command() -> None:
    page = ROOT / "docs" / "latency.md"
    before = page.read_bytes() if page.exists() else None
    words = in_own_display(sys.executable, "-m", "benchmarks.gui", "--quick")
    result = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, timeout=600)
    assert result.returncode in (0, 1), result.stderr  # 1 means that a bar was missed
    for what in (
        "beyond the decoder",
        "undo or redo",
        "previews",
        "while training",
        "in the GUI thread",
        "memory",
    ):
        assert what in result.stdout, result.stderr
    assert (page.read_bytes() if page.exists() else None) == before


def test_memory_of_everything_is_measured_in_a_separate_process() -> None:
    peak, rise = child("ours", "random", EverythingSettings(points_per_side=2))
    assert peak > rise >= 0


@pytest.mark.slow
def test_quick_benchmark_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = ROOT / "docs" / "benchmarks.md"
    before = page.read_bytes() if page.exists() else None
    monkeypatch.setattr(sys, "argv", ["benchmarks", "everything", "--quick"])
    assert command.main() == 0
    shown = capsys.readouterr().out
    assert "segment everything, 2 x 2 grid" in shown
    assert "masks, theirs" in shown
    assert (page.read_bytes() if page.exists() else None) == before
    monkeypatch.setattr(sys, "argv", ["benchmarks", "everythin"])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert "there is no benchmark 'everythin'; choose from: boxes, busy, click," in capsys.readouterr().err
