"""Half a minute of `make fuzz`: damaged files of every format end in one sentence, quickly and in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from benchmarks.fuzz import runner
from benchmarks.fuzz import targets as fuzz_targets
from benchmarks.fuzz.mutations import mutate
from benchmarks.fuzz.runner import Run
from benchmarks.fuzz.targets import targets

from napari_sampath.formats import registry
from support.paths import ROOT

FAILING = """
import os, signal, subprocess, sys, time
from pathlib import Path
from benchmarks.fuzz import targets, worker


def hang(path):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGPROF})  # as a loop in a library does
    time.sleep(600)


bodies = {
    "traceback": lambda path: [][1],
    "hang": hang,
    "memory": lambda path: len(bytearray(3 * 2**26)),
    "code": lambda path: subprocess.run(["true"]),
    "crash": lambda path: os._exit(3),
}


def target(name):
    read = lambda path: None if path.read_bytes() == b"abc" else bodies[name](path)
    return targets.Target(name, None, read)


targets.targets = lambda: [target(name) for name in bodies]
worker.LIMIT_BYTES = 2**27
worker.work(Path(sys.argv[1]), 0)
"""
"""A worker whose readers fail, each in its own way, if a file is damaged."""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and audit of /proc")
def test_half_a_minute_of_damaged_files(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.fuzz",
        "--seconds",
        "30",
        "--count",
        "20000",
        "--jobs",
        "1",
        "--keep",
        str(tmp_path),
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{result.stdout[-6000:]}\n{result.stderr[-2000:]}"
    assert "traceback 0, hang 0, memory 0, code 0, crash 0" in result.stdout
    tried = {line.split("  ")[0] for line in result.stdout.splitlines()}
    assert {target.name for target in targets()} <= tried, "every format is tried"


def test_every_readable_format_is_fuzzed() -> None:
    names = {target.name for target in targets()}
    covered = {"labelme": "import x-anylabeling", "image": "import label maps"}
    for entry in registry.readable():
        assert {f"import {entry.name}", covered.get(entry.name)} & names, entry.name


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        file = tmp_path / f"{name}.json"
        file.write_text('{"images": [{"id": 1, "size": [3, 4]}], "x": {"y": 2.5}}')
        for number in range(20):
            mutate(Random(number), file, [])
        contents.append(file.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and audit of /proc")
def test_failures_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each verdict, by a reader that fails in this way."""

    def command(folder: Path, seed: int) -> list[str]:
        return [sys.executable, "-c", FAILING, str(folder), str(seed)]

    monkeypatch.setattr(runner._Worker, "command", staticmethod(command))
    monkeypatch.setattr(runner, "_KILL_S", 10)
    names = ["traceback", "hang", "memory", "code", "crash"]
    fakes = [fuzz_targets.Target(name, Path.mkdir, Path.read_bytes) for name in names]
    monkeypatch.setattr(fuzz_targets, "targets", lambda: fakes)
    run = Run(tmp_path, 0, 1)
    monkeypatch.setattr(run, "build", lambda names: None)
    for name in names:
        (tmp_path / "valid" / name).mkdir(parents=True)
        (tmp_path / "valid" / name / "x").write_bytes(b"abc")
    failures = run.all(names, len(names), 240)
    assert {failure.target: failure.verdict for failure in failures} == {name: name for name in names}
