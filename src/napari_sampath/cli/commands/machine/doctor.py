"""`sampath doctor`: check this computer, and suggest how to solve each problem."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...output import Output
from ...subcommand import Subcommand

if TYPE_CHECKING:
    from ....diagnosis import Check


def arguments(_parser: argparse.ArgumentParser) -> None:
    """Declare no arguments besides the common ones."""


def run(_args: argparse.Namespace, output: Output) -> int:
    """Run all checks; return 1 if there is a problem."""
    from ....diagnosis import check_computer

    checks = output.run(check_computer())
    problems = sum(check.state == "problem" for check in checks)
    output.result(
        {"checks": [check.as_dict() for check in checks], "problems": problems}, _text(checks, problems)
    )
    return 1 if problems else 0


def _text(checks: Sequence[Check], problems: int) -> str:
    lines = []
    for check in checks:
        lines.append(f"{check.state:<8} {check.name}: {check.value}")
        if check.remedy:
            lines.append(f"{'':<8} -> {check.remedy}")
    word = "1 problem" if problems == 1 else f"{problems} problems"
    lines.append(f"\n{word if problems else 'No problems'} found.")
    return "\n".join(lines)


SUBCOMMAND = Subcommand(
    "check this computer, and suggest how to solve each problem",
    "sampath doctor --json",
    arguments,
    run,
)
