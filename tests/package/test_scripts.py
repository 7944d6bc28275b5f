"""The scripts of `make test`: counting tests, setup, and shell syntax."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

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
def test_number_of_tests_is_printed_and_none_is_a_failure(
    numbers: tuple[int, ...], line: str, code: int, tmp_path: Path
) -> None:
    report = tmp_path / "junit.xml"
    names = ("tests", "failures", "errors", "skipped")
    report.write_text(SUITE.format(**dict(zip(names, numbers, strict=True))))
    result = count(report)
    assert (result.stdout.strip(), result.returncode) == (line, code)


@pytest.mark.parametrize("content", [None, "<testsuites><testsuite tests="])
def test_missing_or_truncated_report_is_a_failure(content: str | None, tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    if content is not None:
        report.write_text(content)
    result = count(report)
    assert result.returncode == 1
    assert result.stdout.startswith("0 tests ran")


class Machine:
    """Copy of the setup script, and a `PATH` that holds only the programs of a test."""

    tools = ("bash", "dirname", "env", "cmp", "cp", "rm")

    def __init__(self, folder: Path) -> None:
        self.repository, self.bin, self.log = folder / "repository", folder / "bin", folder / "log"
        (self.repository / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "scripts" / "setup.sh", self.repository / "scripts")
        shutil.copy(ROOT / "pyproject.toml", self.repository)
        for tool in self.tools:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        self.program("uname", "echo Linux")

    def program(self, name: str, body: str) -> None:
        """Add a shell script to the path."""
        path = self.bin / name
        path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
        path.chmod(0o755)

    def debian(self, missing: str, user_id: int) -> None:
        """Simulate Debian with all packages except `missing`."""
        self.program(
            "dpkg-query", f'case " {missing} " in *" ${{@: -1}} "*) exit 1;; esac; echo -n installed'
        )
        self.program("id", f"echo {user_id}")
        self.program("apt-get", f'echo "apt-get $*" >> {self.log}; [ "$1" = update ]')

    def set_up(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.bin / "bash"), str(self.repository / "scripts" / "setup.sh")],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": str(self.bin)},
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if os.name != "posix" or shutil.which("bash") is None:
        pytest.skip("needs bash")
    return Machine(tmp_path)


def test_setup_installs_missing_packages_only_and_reports_failure(machine: Machine) -> None:
    machine.debian("xvfb xvfbt64 libxcb-cursor0 libxcb-cursor0t64 libgl1", user_id=0)
    result = machine.set_up()
    assert result.returncode == 1
    install = "apt-get install -y -qq --no-install-recommends xvfb libxcb-cursor0"
    assert machine.log.read_text().splitlines() == [install, "apt-get update -qq", install]
    assert "setup: apt-get could not install: xvfb libxcb-cursor0" in result.stderr


def test_setup_without_permission_names_the_command(machine: Machine) -> None:
    machine.debian("libegl1 libegl1t64", user_id=1000)
    machine.program("sudo", "exit 1")
    result = machine.set_up()
    assert result.returncode == 1
    assert "has no permission to install them; run: sudo apt-get install libegl1\n" in result.stderr
    assert not machine.log.exists()


@pytest.mark.parametrize("debian", [True, False])
def test_setup_reports_a_missing_python(machine: Machine, debian: bool) -> None:
    if debian:
        machine.debian("", user_id=1000)
    machine.program("python3", "exit 1")
    result = machine.set_up()
    assert result.returncode == 1
    assert "Python 3.11 or newer is required" in result.stderr
    assert ("install Xvfb" in result.stderr) is not debian
    assert not (machine.repository / ".venv").exists()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    "script",
    [
        ".ci/run",
        *(
            str(path.relative_to(ROOT))
            for name in ("scripts", "recipes")
            for path in (ROOT / name).glob("*.sh")
        ),
    ],
)
def test_shell_scripts_parse(script: str) -> None:
    result = subprocess.run(["bash", "-n", str(ROOT / script)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
