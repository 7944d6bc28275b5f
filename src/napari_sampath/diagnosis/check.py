"""Result of one check, and processes that try what could end this one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "note", "problem"]
"""Severity: with a note, something works with restrictions; with a problem, it does not work."""

CHILD_TIMEOUT_S = 300
"""Time after which another process is ended; on a busy computer, importing PyTorch alone can take a minute."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check."""

    name: str
    """What was checked, such as "OpenGL"."""
    state: State
    value: str
    """What was found."""
    remedy: str = ""
    """What to do; empty if there is nothing to do."""

    def as_dict(self) -> dict[str, str]:
        """Return the fields for JSON."""
        return {"name": self.name, "state": self.state, "value": self.value, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class ChildResult:
    """Report of a process, or the reason for its failure."""

    values: Mapping[str, Any]
    failure: str
    """Last line of its error output, or the signal that ended it; empty if it reported values."""


def run_child(module: str) -> ChildResult:
    """Run a module in another process and read the JSON object in the last line of its output.

    Args:
        module: Name of a module that prints a JSON object when it is run with `python -m`.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=CHILD_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return ChildResult({}, f"no answer within {CHILD_TIMEOUT_S} s")
    try:
        values = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        values = None
    if done.returncode == 0 and isinstance(values, dict):
        return ChildResult(values, "")
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    ended = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    return ChildResult({}, lines[-1] if lines else ended)
