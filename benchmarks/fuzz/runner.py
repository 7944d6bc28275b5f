"""A run of the fuzzer: builds valid files, hands cases to worker processes, and minimises the failures."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .targets import find, home
from .worker import HANG_S, PATIENCE, START_S, prepare

_KILL_S = PATIENCE * HANG_S + 8
_ROOT = Path(__file__).parents[2]
PASSED = ("read", "refused")


@dataclass
class Failure:
    """A kind of failure, with the first case that showed it."""

    verdict: str
    target: str
    number: int
    detail: str
    where: str
    mutations: int = 7
    count: int = 1

    @property
    def case(self) -> str:
        return f"--case '{self.target}:{self.number}'"

    @property
    def slug(self) -> str:
        return re.sub(r"[^\w.-]+", "_", f"{self.verdict}-{self.target}-{self.where}")[:100]


class _Worker:
    def __init__(self, folder: Path, seed: int) -> None:
        env = {**os.environ, **home(folder / "home"), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        command = self.command(folder, seed)
        self.log = folder / f"log-{time.monotonic_ns()}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env, cwd=_ROOT
            )

    @staticmethod
    def command(folder: Path, seed: int) -> list[str]:
        """Return the command line of a worker."""
        return [sys.executable, "-m", "benchmarks.fuzz.worker", str(folder), str(seed)]

    def ask(self, target: str, number: int, mutations: int) -> dict[str, Any]:
        """Return the verdict on a case; the worker is dead after a hang in a library or a crash."""
        requests: Any = self.process.stdin
        answers: Any = self.process.stdout
        try:
            requests.write(f"{number} {mutations:b} {target}\n".encode())
            requests.flush()
        except OSError:
            return self._crashed()
        ready, _, _ = select.select([answers], [], [], PATIENCE * START_S if number < 0 else _KILL_S)
        if not ready:
            self.close()
            return {
                "verdict": "hang",
                "detail": "in a library, where it cannot be interrupted",
                "where": "library",
            }
        line = answers.readline()
        if not line:
            return self._crashed()
        result: dict[str, Any] = json.loads(line)
        return result

    def _crashed(self) -> dict[str, Any]:
        self.close()
        text = self.log.read_text(errors="replace")[-1500:]
        return {
            "verdict": "crash",
            "detail": f"exit code {self.process.returncode}: {text}",
            "where": "process",
        }

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class Run:
    """One run.

    Args:
        folder: An empty folder for all files.
        seed: Seed of all mutations.
        jobs: Number of worker processes.
    """

    def __init__(self, folder: Path, seed: int, jobs: int) -> None:
        self.folder, self.seed, self.jobs = folder, seed, jobs
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.elapsed_s = 0.0
        self._failures: dict[tuple[str, str, str], Failure] = {}
        self._lock = threading.Lock()

    @property
    def verdicts(self) -> Counter[str]:
        """Number of files with each verdict."""
        return sum(self.counts.values(), Counter())

    def all(self, names: list[str], count: int, seconds: float) -> list[Failure]:
        """Read `count` mutated files, or as many as can be read in the time, and return the kinds of failures."""
        self.build(names)
        cases: queue.Queue[tuple[str, int]] = queue.Queue()
        for case in _plan(names, count):
            cases.put(case)
        start = time.monotonic()
        threads = [
            threading.Thread(target=self._loop, args=(names, cases, start + seconds))
            for _ in range(self.jobs)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.elapsed_s = time.monotonic() - start
        return sorted(self._failures.values(), key=lambda failure: -failure.count)

    def build(self, names: list[str]) -> None:
        """Write the valid files, in a process that sees only folders of the run."""
        code = "import sys; from benchmarks.fuzz.runner import build; build(sys.argv[1], sys.argv[2:])"
        env = {**os.environ, **home(self.folder / "home")}
        subprocess.run([sys.executable, "-c", code, str(self.folder), *names], env=env, cwd=_ROOT, check=True)

    def _loop(self, names: list[str], cases: queue.Queue[tuple[str, int]], end: float) -> None:
        worker = self._new_worker(names)
        while time.monotonic() < end:
            try:
                target, number = cases.get_nowait()
            except queue.Empty:
                break
            result = worker.ask(target, number, 7)
            self._count(target, number, result)
            if worker.process.poll() is not None:
                worker = self._new_worker(names)
        worker.close()

    def _new_worker(self, names: list[str]) -> _Worker:
        """Start a worker and let it read the valid files, which must succeed and loads all libraries."""
        worker = _Worker(self.folder, self.seed)
        for name in names:
            result = worker.ask(name, -1, 0)
            if result["verdict"] != "read":
                self._count(name, -1, {**result, "verdict": "traceback", "where": "valid file"})
            if worker.process.poll() is not None:
                worker = _Worker(self.folder, self.seed)
        return worker

    def _count(self, target: str, number: int, result: dict[str, Any]) -> None:
        verdict = result["verdict"]
        with self._lock:
            self.counts[target][verdict] += 1
            if verdict in PASSED:
                return
            detail, where = result.get("detail", ""), result.get("where", "")
            key = verdict, target, where
            if key in self._failures:
                self._failures[key].count += 1
            else:
                self._failures[key] = Failure(verdict, target, number, detail, where)

    def keep(self, failures: list[Failure], folder: Path) -> None:
        """Store the files of each kind of failure with the fewest mutations that still show it."""
        names = sorted({failure.target for failure in failures})
        worker = self._new_worker(names)
        for failure in failures:
            for mutations in (1, 2, 4, 3, 5, 6):
                result = worker.ask(failure.target, failure.number, mutations)
                if worker.process.poll() is not None:
                    worker = self._new_worker(names)
                if (result["verdict"], result.get("where", "")) == (failure.verdict, failure.where):
                    failure.mutations, failure.detail = mutations, result.get("detail", "")
                    break
            self._store(failure, folder / failure.slug)
        worker.close()

    def _store(self, failure: Failure, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        target = find(failure.target)
        _, mutated = prepare(self.folder, folder, target, self.seed, failure.number, failure.mutations)
        text = f"{failure.verdict}: {failure.detail}\n\nmutated: {', '.join(mutated)}\n"
        command = f"python -m benchmarks.fuzz --seed {self.seed} {failure.case}"
        (folder / "README.txt").write_text(f"{text}{command}\n", encoding="utf-8", errors="replace")

    def show(self, case: str) -> int:
        """Read one case and print the verdict."""
        target, _, number = case.rpartition(":")
        self.build([target])
        worker = self._new_worker([target])
        result = worker.ask(target, int(number), 7)
        worker.close()
        print(json.dumps({key: value for key, value in result.items() if key != "detail"}))
        print(result.get("detail", ""))
        return 0 if result["verdict"] in PASSED else 1


def build(folder: str, names: list[str]) -> None:
    """Write the valid files of some formats."""
    for name in names:
        place = Path(folder) / "valid" / name
        place.mkdir(parents=True, exist_ok=True)
        find(name).build(place)


def _plan(names: list[str], count: int) -> list[tuple[str, int]]:
    """Distribute the cases over the formats by weight, in turns, so that a stopped run has seen every format."""
    weights = {name: find(name).weight for name in names}
    total = sum(weights.values())
    shares = {name: max(1, round(count * weight / total)) for name, weight in weights.items()}
    cases = [
        ((number + 0.5) / share, name, number) for name, share in shares.items() for number in range(share)
    ]
    return [(name, number) for _, name, number in sorted(cases)]
