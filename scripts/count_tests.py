"""Print how many tests ran according to JUnit reports; exit with 1 if none did."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def counts(report: Path) -> dict[str, int]:
    """Add up the suites of a JUnit report.

    Returns:
        "ran", "failed" (with errors) and "skipped" over all suites; 0 if the report is missing or truncated.
    """
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    try:
        suites = ElementTree.parse(report).getroot().iter("testsuite")
        for suite in suites:
            for key in totals:
                totals[key] += int(suite.get(key, "0"))
    except (OSError, ElementTree.ParseError):
        pass
    return {
        "ran": totals["tests"] - totals["skipped"],
        "failed": totals["failures"] + totals["errors"],
        "skipped": totals["skipped"],
    }


def main(reports: list[str]) -> int:
    """Print one line and return the exit code."""
    totals = [counts(Path(report)) for report in reports]
    summary = {key: sum(total[key] for total in totals) for key in ("ran", "failed", "skipped")}
    sys.stdout.write("{ran} tests ran, {failed} failed, {skipped} were skipped.\n".format(**summary))
    return 0 if summary["ran"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
