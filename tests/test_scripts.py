"""The scripts behind `make test`: the count of tests, and shell that a shell can read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SUITE = '<x><testsuite tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}"/></x>'


def count(report: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "count_tests.py"), str(report)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("numbers", "line", "code"),
    [
        ((12, 0, 0, 2), "10 tests ran, 0 failed, 2 were skipped.", 0),
        ((12, 1, 2, 0), "12 tests ran, 3 failed, 0 were skipped.", 0),
        ((5, 0, 0, 5), "0 tests ran, 0 failed, 5 were skipped.", 1),
        ((0, 0, 0, 0), "0 tests ran, 0 failed, 0 were skipped.", 1),
    ],
)
def test_number_of_tests_is_told_and_none_is_a_failure(
    numbers: tuple[int, ...], line: str, code: int, tmp_path: Path
) -> None:
    report = tmp_path / "junit.xml"
    names = ("tests", "failures", "errors", "skipped")
    report.write_text(SUITE.format(**dict(zip(names, numbers, strict=True))))
    result = count(report)
    assert (result.stdout.strip(), result.returncode) == (line, code)


@pytest.mark.parametrize("content", [None, "<testsuites><testsuite tests="])
def test_a_report_that_is_absent_or_torn_is_a_failure(content: str | None, tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    if content is not None:
        report.write_text(content)
    result = count(report)
    assert result.returncode == 1
    assert result.stdout.startswith("0 tests ran")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    "script", [".ci/run", *(f"scripts/{path.name}" for path in (ROOT / "scripts").glob("*.sh"))]
)
def test_shell_can_be_read(script: str) -> None:
    result = subprocess.run(["bash", "-n", str(ROOT / script)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
