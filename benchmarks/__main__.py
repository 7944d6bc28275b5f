"""Run all benchmarks, print the table and write it to docs/benchmarks.md.

python -m benchmarks                    everything (`make bench`); some 40 minutes on two cores
python -m benchmarks click boxes        only these, and nothing is written
python -m benchmarks --quick            small and meaningless numbers: does everything run?
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from .table import Row, to_markdown, to_text

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def modules() -> list[str]:
    """List the modules of this folder that measure something: those with `rows`."""
    names = [found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)])]
    return [name for name in names if name != "__main__" and hasattr(_module(name), "rows")]


def measured(names: list[str], quick: bool) -> Iterator[Row]:
    """Run modules one by one."""
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        for row in _module(name).rows(quick):
            print("  " + "  ".join(filter(None, row.cells())), file=sys.stderr, flush=True)
            yield row


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
    if hasattr(os, "getloadavg"):
        one, _, fifteen = os.getloadavg()
        lines.append(f"load {one:.1f} in the last minute, {fifteen:.1f} in the last 15")
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
    parser.add_argument("--quick", action="store_true", help="only see that everything runs")
    options = parser.parse_args()
    known = modules()
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"there is no benchmark '{unknown[0]}'; choose from: {', '.join(known)}")
    described = machine()
    rows = list(measured(options.names or known, options.quick))
    print(f"{described}\n\n{to_text(rows)}")
    if not (options.names or options.quick):
        PAGE.write_text(page(rows, described), encoding="utf-8")
    return int(any(row.missed for row in rows))


def _module(name: str) -> object:
    return importlib.import_module(f"{__package__}.{name}")


if __name__ == "__main__":
    sys.exit(main())
