"""Measure work on whole-slide images and write docs/slides-benchmark.md.

python -m benchmarks.slides            everything (`make bench-slides`); about ten minutes on two cores
python -m benchmarks.slides --quick    checks that everything runs; the numbers are meaningless

The slide of 100,352 px is made from `slides/CMU-1-Small-Region.svs` (CC0) in the folder SAMPATH_DATA.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from itertools import chain
from pathlib import Path

from ..__main__ import ROOT, machine
from ..table import Row, to_markdown, to_text
from . import annotating, display, reading, runs, window
from .large_slide import SIDE_PX, write_large_slide

PAGE = ROOT / "docs" / "slides-benchmark.md"

PAGE_TEXT = """# Slides: benchmark

After reading this page, you know how fast slides are read, shown and annotated. Run `make bench-slides` to measure it
on your machine. Both readers run alternately in one process; the ratio is OpenSlide's time, or the limit, divided by
ours. The large slide repeats JPEG tiles of a small one (CC0). Panning and zooming runs in a window of 1,280 x
800 px; the display is Xvfb.

{machine}

{table}

{verdict}
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.slides", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only check that everything runs")
    options = parser.parse_args()
    data = Path(os.environ.get("SAMPATH_DATA", ROOT.parent / "shared" / "data"))
    small = data / "slides" / "CMU-1-Small-Region.svs"
    if not small.is_file():
        parser.error(f"there is no '{small}'; set SAMPATH_DATA to the folder of the test data")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.tif"
        write_large_slide(small, large, 4096 if options.quick else SIDE_PX, 4 if options.quick else 8)
        parts = (
            reading.rows(small, large, options.quick),
            display.rows(large, options.quick),
            window.rows(large, options.quick),
            annotating.rows(options.quick),
            runs.rows(small, options.quick),
        )
        for row in chain(*parts):
            print("  ".join(filter(None, row.cells())), file=sys.stderr, flush=True)
            rows.append(row)
    description = machine()
    print(f"{description}\n\n{to_text(rows)}")
    missed = sum(row.missed for row in rows)
    if not options.quick:
        verdict = "All bars are met." if not missed else f"{missed} bars missed."
        PAGE.write_text(
            PAGE_TEXT.format(machine=description, table=to_markdown(rows), verdict=verdict), encoding="utf-8"
        )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
