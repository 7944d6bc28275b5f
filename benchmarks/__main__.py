"""Run all benchmarks, print the table and write it to docs/benchmarks.md.

python -m benchmarks                    everything (`make bench`); about 40 minutes on two cores
python -m benchmarks click boxes        only these; the other rows of the page stay as they are
python -m benchmarks --missing          only what has not been measured yet; resumes an interrupted run
python -m benchmarks --quick            checks that everything runs; the numbers are meaningless
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
RESULTS = ROOT / "build" / "benchmarks"
"""Measured rows, one file per module."""


def modules() -> list[str]:
    """List the modules of this folder that have a function `rows`."""
    names = [info.name for info in pkgutil.iter_modules([str(Path(__file__).parent)])]
    return [name for name in names if name != "__main__" and hasattr(_module(name), "rows")]


def measured(names: list[str], quick: bool) -> Iterator[Row]:
    """Run modules one by one and store their rows, unless `quick`."""
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows = []
        for row in _module(name).rows(quick):
            print("  " + "  ".join(filter(None, row.cells())), file=sys.stderr, flush=True)
            rows.append(row)
        if not quick:
            RESULTS.mkdir(parents=True, exist_ok=True)
            record = {"load": load(), "rows": [asdict(row) for row in rows]}
            (RESULTS / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
        yield from rows


def stored_rows(names: list[str]) -> tuple[list[Row], str] | None:
    """Return the stored rows of all modules and the load of the machine; None if a module is missing."""
    files = {name: RESULTS / f"{name}.json" for name in names}
    if not all(path.is_file() for path in files.values()):
        return None
    records = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items()}
    loads = ", ".join(f"{name} {record['load']}" for name, record in records.items())
    rows = [Row(**row) for record in records.values() for row in record["rows"]]
    return rows, f"- load average at the end of each benchmark: {loads}"


def load() -> str:
    """Return the load average of the last five minutes."""
    return f"{os.getloadavg()[1]:.1f}" if hasattr(os, "getloadavg") else "?"


def machine() -> str:
    """Describe the processor and the software."""
    import torch

    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        processor = models[0].split(":", 1)[1].strip() if models else processor
    lines = [
        f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads "
        f"({torch.backends.cpu.get_cpu_capability()})",
        f"{platform.system()}, Python {platform.python_version()}, PyTorch {torch.__version__}",
    ]
    if torch.cuda.is_available():
        lines.append(torch.cuda.get_device_name())
    return "\n".join(f"- {line}" for line in lines)


def page(rows: list[Row], description: str) -> str:
    """Return the text of docs/benchmarks.md."""
    return (
        "# Benchmarks\n\n"
        "After reading this page, you know how fast napari-sampath is compared with the `segment_anything` package, "
        "and can measure it on your machine with `make bench`. Both run alternately in one process with the same "
        "weights and input; times are medians of at least 7 runs. The ratio is their value divided by ours. Where the "
        "third column is a limit, the ratio is the limit divided by our value.\n\n"
        f"{description}\n\n{to_markdown(rows)}\n\n{_verdict(to_markdown(rows).splitlines())}\n"
    )


def updated(text: str, names: list[str], rows: list[Row]) -> str:
    """Return the page with other rows of some modules, which replace those of the same name or are added at the end."""
    lines = text.splitlines()
    table = [number for number, line in enumerate(lines) if line.startswith("| ")]
    new = {line.split(" | ")[0]: line for line in to_markdown(rows).splitlines()[2:]}
    kept = [new.pop(line.split(" | ")[0], line) for line in lines[table[0] : table[-1] + 1]]
    kept += new.values()
    before = [
        f"{line}, {', '.join(f'{name} {load()}' for name in names)}"
        if line.startswith("- load average")
        else line
        for line in lines[: table[0]]
    ]
    return "\n".join([*before, *kept, "", _verdict(kept), ""])


def _verdict(table: list[str]) -> str:
    missed = sum(" | missed | " in line for line in table)
    bars = missed + sum(" | met | " in line for line in table)
    return f"{missed} of {bars} bars missed." if missed else "All bars are met."


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(modules())} (default: all)")
    parser.add_argument("--missing", action="store_true", help="run only modules without stored results")
    parser.add_argument("--quick", action="store_true", help="only check that everything runs")
    options = parser.parse_args()
    available = modules()
    unknown = sorted(set(options.names) - set(available))
    if unknown:
        parser.error(f"there is no benchmark '{unknown[0]}'; choose from: {', '.join(available)}")
    names = options.names or [
        name for name in available if not (options.missing and (RESULTS / f"{name}.json").is_file())
    ]
    description = machine()
    rows = list(measured(names, options.quick))
    print(f"{description}\n\n{to_text(rows)}")
    stored = None if options.quick else stored_rows(available)
    if stored is not None:
        PAGE.write_text(page(stored[0], f"{description}\n{stored[1]}"), encoding="utf-8")
    elif options.names and not options.quick:
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8"), names, rows), encoding="utf-8")
    return int(any(row.missed for row in rows))


def _module(name: str) -> object:
    return importlib.import_module(f"{__package__}.{name}")


if __name__ == "__main__":
    sys.exit(main())
