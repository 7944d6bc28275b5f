"""Run all benchmarks, print the table and write it to docs/benchmarks.md.

python -m benchmarks                    everything (`make bench`); some 40 minutes on two cores
python -m benchmarks click boxes        only these; the page is written anew if the others were measured before
python -m benchmarks --missing          only what was not measured yet: goes on where a run was stopped
python -m benchmarks --quick            small and meaningless numbers: does everything run?
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from .table import Row, to_markdown, to_text

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
KEPT = ROOT / "build" / "benchmarks"
"""Rows measured here before, a file a module."""


def modules() -> list[str]:
    """List the modules of this folder that measure something: those with `rows`."""
    names = [found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)])]
    return [name for name in names if name != "__main__" and hasattr(_module(name), "rows")]


def measured(names: list[str], quick: bool) -> Iterator[Row]:
    """Run modules one by one; what is not quick is kept."""
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = []
        for row in _module(name).rows(quick):
            print("  " + "  ".join(filter(None, row.cells())), file=sys.stderr, flush=True)
            found.append(row)
        if not quick:
            KEPT.mkdir(parents=True, exist_ok=True)
            kept = {"load": load(), "rows": [asdict(row) for row in found]}
            (KEPT / f"{name}.json").write_text(json.dumps(kept), encoding="utf-8")
        yield from found


def kept_rows(names: list[str]) -> tuple[list[Row], str] | None:
    """Return all that was measured and the machine's load at each; None as long as a module is missing."""
    files = {name: KEPT / f"{name}.json" for name in names}
    if not all(path.is_file() for path in files.values()):
        return None
    kept = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items()}
    loads = ", ".join(f"{name} {one['load']}" for name, one in kept.items())
    return [
        Row(**row) for one in kept.values() for row in one["rows"]
    ], f"- load at the end of each part: {loads}"


def load() -> str:
    """Return how many processes wanted a core during the last five minutes."""
    return f"{os.getloadavg()[1]:.1f}" if hasattr(os, "getloadavg") else "?"


def machine() -> str:
    """Describe what the numbers were measured on."""
    import torch

    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        named = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        processor = named[0].split(":", 1)[1].strip() if named else processor
    lines = [
        f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads "
        f"({torch.backends.cpu.get_cpu_capability()})",
        f"{platform.system()}, Python {platform.python_version()}, PyTorch {torch.__version__}",
    ]
    if torch.cuda.is_available():
        lines.append(torch.cuda.get_device_name())
    return "\n".join(f"- {line}" for line in lines)


def page(rows: list[Row], described: str) -> str:
    """Write the page of the documentation."""
    missed = sum(row.missed for row in rows)
    verdict = (
        "All bars are met."
        if not missed
        else f"{missed} of {sum(r.bar is not None for r in rows)} bars missed."
    )
    return (
        "# Benchmarks\n\n"
        "Written by `make bench`. Ratios are against the `segment_anything` package in the same process, on the "
        "same weights and input, the two sides taking turns; medians of at least 7 runs. Where the second column "
        "of numbers is a limit, the ratio says how many times the measured value fits into it.\n\n"
        f"{described}\n\n{to_markdown(rows)}\n\n{verdict}\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(modules())}; all if left out"
    )
    parser.add_argument("--missing", action="store_true", help="only what was not measured yet")
    parser.add_argument("--quick", action="store_true", help="only see that everything runs")
    options = parser.parse_args()
    known = modules()
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"there is no benchmark '{unknown[0]}'; choose from: {', '.join(known)}")
    names = options.names or [
        name for name in known if not (options.missing and (KEPT / f"{name}.json").is_file())
    ]
    described = machine()
    rows = list(measured(names, options.quick))
    print(f"{described}\n\n{to_text(rows)}")
    whole = None if options.quick else kept_rows(known)
    if whole is not None:
        PAGE.write_text(page(whole[0], f"{described}\n{whole[1]}"), encoding="utf-8")
    return int(any(row.missed for row in rows))


def _module(name: str) -> object:
    return importlib.import_module(f"{__package__}.{name}")


if __name__ == "__main__":
    sys.exit(main())
