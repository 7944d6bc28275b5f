"""Measure the latency of the docks and write it to docs/latency.md.

python -m benchmarks.gui            everything (`make bench-gui`, which brings a display); some 20 minutes on two cores
python -m benchmarks.gui --quick    small and meaningless numbers: does everything run?

Where micro-sam is installed beside this package (in an environment of their own), its 2D annotator is measured, too.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_sampath.widgets.background.native_libraries import import_triton_apart

from ..__main__ import machine
from ..table import Row, limited, seconds, to_markdown, to_text

if TYPE_CHECKING:
    from .micro_sam_window import MicroSam
    from .windows import Ours, Peers

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "latency.md"
SIDES = (1024, 4096, 8192)

HOW = """# Latency

Written by `make bench-gui`: napari with the docks in a window of 1,280 x 800 px, real mouse and key events, and a
clock that runs from the event until the frame is finished that shows the result. One image pixel is one pixel of the
canvas. The preview under the mouse is off except where it is measured.

{machine}

The display is Xvfb: OpenGL is computed by the processor, on the same cores as everything else, so a frame costs much
more than with a graphics card. The row of a frame in which nothing has changed says how much of each number that is.

"Beyond the decoder" is the whole time less the time spent in `Model.decode`. It is measured with the shipped
`sampath-tiny` on painted nuclei, and once more with SAM's prompt decoder of the full size (that of ViT-B, ViT-L and
ViT-H) and random weights, which is as fast as with trained ones; its masks are large and ragged. The encoder before it
is a small one; no click waits for it.

Napari paints its whole window with Python's lock held, also when only the text below it changes, as it does with each
move of the mouse. With software OpenGL that takes most of the time while the mouse moves, and previews, which are
computed beside it, wait for it.

Where Numba is installed, as micro-sam and `napari[all]` have it, napari maps ids to colours with it, and the window's
thread gets OpenMP threads of its own. There are more of them than cores then, so PyTorch's sleep whenever they wait for
each other, and a prompt on `sampath-tiny` takes half as long again. The docks have their own layers coloured by one
thread, which prevents it; a label layer of wide ids that somebody else adds brings it back.

*The peers' way* is what the other plugins do, in the same process and with the same weights:
`segment_anything.SamPredictor.predict` in the window's own thread on the embedding of the whole image, and the mask
assigned to a label layer as a whole. On an image larger than a tile the docks decode on the tile around the click, at
full resolution, so the masks are not the same there; what is compared is the wait. The rows of *micro-sam* are its own
2D annotator with a ViT-B that has the same decoder: the click, then S, as its users ask for a mask. They are there
where it is installed.

The rows of 5,000 objects and of 20,000 steps are of the session alone, without a window.

{table}

{verdict}
"""


def clicks(quick: bool, folder: Path) -> Iterator[Row]:
    """From a click to its mask, beside the peers' way, on images of several sizes."""
    from ..models import random_model, tissue
    from .windows import Ours

    sides, repeats = ((256, 512), 3) if quick else (SIDES, 12)
    load, tile = functools.cache(random_model), tissue(256 if quick else 1024)
    totals: dict[int, list[float]] = {side: [] for side in sides}
    ours: dict[int, Ours] = {}
    for side in sides:
        pixels = tiled(tile, side)
        # Another corner, so that each image has a journal of its own.
        pixels[0, 0] = side % 251
        ours[side] = Ours(pixels, load, folder)
    beyond: dict[int, list[float]] = {side: [] for side in sides}
    rng = np.random.default_rng(0)
    for turn in range(repeats + 1):
        for side in sides:
            x, y = side / 2 + rng.uniform(-80, 80, 2)
            total, decoding = ours[side].time_click(x, y)
            if turn:
                beyond[side].append(total - decoding)
                totals[side].append(total)
    small, large = sides[0], sides[-1]
    what = f"the same with SAM's own decoder, {small:,} px, p50"
    yield Row(what, seconds(statistics.median(beyond[small])), "", None, None)
    ratio = statistics.median(beyond[large]) / statistics.median(beyond[small])
    yield limited(f"click beyond the decoder, {large:,} px : {small:,} px", ratio, 1.3, ": 1", "medians")
    yield from undo(ours[large], large, quick)
    for window in ours.values():
        window.close()
    medians = {side: statistics.median(totals[side]) for side in (sides[:1] if quick else sides)}
    yield from others(medians, tile, folder, 3 if quick else 8)


def others(ours: dict[int, float], tile: np.ndarray, folder: Path, turns: int) -> Iterator[Row]:
    """The same clicks in the windows of others: side of the image -> seconds that ours took."""
    from ..models import opened
    from .windows import Peers

    for side, seconds_ours in ours.items():
        yield beside("the peers' way", side, seconds_ours, Peers(tiled(tile, side), opened(side)[1]), turns)
    if importlib.util.find_spec("micro_sam") is None:
        return
    from .micro_sam_window import MicroSam, vit_b_file

    weights, name = vit_b_file(folder / "vit_b.pth"), f"micro-sam {importlib.metadata.version('micro-sam')}"
    for side, seconds_ours in ours.items():
        yield beside(name, side, seconds_ours, MicroSam(tiled(tile, side), weights), turns)


def beside(name: str, side: int, ours: float, theirs: Peers | MicroSam, turns: int) -> Row:
    """Click in another program's window, close it, and put it beside ours."""
    rng = np.random.default_rng(0)
    took = [theirs.time_click(*(side / 2 + rng.uniform(-80, 80, 2))) for _ in range(turns)]
    theirs.close()
    other = statistics.median(took[1:])
    what = f"click to painted pixels, {side:,} px, beside {name}"
    return Row(what, seconds(ours), seconds(other), other / ours, 10.0 if side == 8192 else None)


def tiled(tile: np.ndarray, side: int) -> np.ndarray:
    """Repeat a square picture up to a side that it divides."""
    times = side // len(tile)
    return np.tile(tile, (times, times, 1))


def click(window: Ours, quick: bool) -> Iterator[Row]:
    """From a click on a nucleus to its mask, without what the decoder takes."""
    beyond: list[float] = []
    frames: list[float] = []
    side = len(window.image.data)
    # Beside nuclei an answer may have no pixel, and then nothing is painted to wait for.
    middle = window.image.data[3 * side // 10 : 7 * side // 10, 3 * side // 10 : 7 * side // 10, 0]
    nuclei = np.argwhere(middle < 150)[:, ::-1] + 3 * side // 10 + 0.5
    places = np.random.default_rng(0).choice(nuclei, 3 if quick else 41)
    for turn, (x, y) in enumerate(places):
        total, decoding = window.time_click(x, y)
        if turn:
            beyond.append(total - decoding)
        frames.append(window.frame())
    yield Row("a frame in which nothing has changed", seconds(statistics.median(frames)), "", None, None)
    for name, share, limit in (("p50", 50, 20.0), ("p95", 95, 50.0)):
        value = 1000 * float(np.percentile(beyond, share))
        yield limited(f"click to painted pixels beyond the decoder, {side:,} px, {name}", value, limit, "ms")
    rest = max(0.0, statistics.median(beyond) - statistics.median(frames))
    yield Row("the same less the one frame that it takes, p50", seconds(rest), "", None, None)


def undo(window: Ours, side: int, quick: bool) -> Iterator[Row]:
    """Undo and redo of a commit a quarter of the image across, by key."""
    from .windows import CTRL, SHIFT

    rows, cols = np.ogrid[:side, :side]
    disc = np.nonzero((rows - side / 2) ** 2 + (cols - side / 2) ** 2 <= (side / 8) ** 2)
    window.session.paint(*disc, 1)
    window.rest(1.0)
    times = [window.time_key(CTRL if step % 2 == 0 else CTRL | SHIFT) for step in range(6 if quick else 20)]
    value = 1000 * statistics.median(times)
    yield limited(
        f"undo or redo of a commit {side // 4:,} px across, {side:,} px",
        value,
        50.0,
        "ms",
        f"from the key to the painted frame; slowest {1000 * max(times):.0f} ms",
    )


def shipped(quick: bool, folder: Path) -> Iterator[Row]:
    """What a user of `sampath-tiny` waits for."""
    from ..models import load, tissue
    from .background import stalls
    from .windows import Ours

    window = Ours(tissue(256 if quick else 1024), functools.partial(load, "sampath-tiny"), folder)
    yield from click(window, quick)
    yield from hover(window, quick)
    yield from stalls(window, folder, quick)
    window.close()


def hover(window: Ours, quick: bool) -> Iterator[Row]:
    """Count the previews that are shown while the mouse moves without a pause."""
    preview = window.state.annotator.preview
    preview.on = True
    shown: list[float] = []
    line, show = preview.line, preview.line.show
    line.show = lambda *args, **kwargs: (shown.append(time.perf_counter()), show(*args, **kwargs))
    centre, begin, step = len(window.image.data) / 2, time.perf_counter(), 0
    while time.perf_counter() - begin < (1 if quick else 10):
        step += 1
        window.driver.move(centre + 80 * np.cos(step / 20), centre + 80 * np.sin(step / 20))
    rate = len(shown) / (time.perf_counter() - begin)
    del line.show
    preview.on = False
    yield Row(
        "previews under a moving mouse, sampath-tiny",
        f"{rate:.1f} a second",
        "at least 8 a second",
        rate / 8,
        1.0,
    )


def rows(quick: bool) -> Iterator[Row]:
    """Measure everything."""
    from .. import session

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from shipped(quick, folder)
        yield from clicks(quick, folder)
        for measure in (session.many_objects, session.many_steps):
            yield from measure(folder, quick)


def page(found: Sequence[Row], described: str) -> str:
    """Write the page of the documentation."""
    missed = [row for row in found if row.missed]
    verdict = (
        "All bars are met."
        if not missed
        else f"{len(missed)} of {sum(r.bar is not None for r in found)} bars missed."
    )
    return HOW.format(machine=described, table=to_markdown(found), verdict=verdict)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gui", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only see that everything runs")
    options = parser.parse_args()
    import_triton_apart()
    described, found = machine(), []
    for row in rows(options.quick):
        print("  ".join(filter(None, row.cells())), file=sys.stderr, flush=True)
        found.append(row)
    print(f"{described}\n\n{to_text(found)}")
    if not options.quick:
        PAGE.write_text(page(found, described), encoding="utf-8")
    return int(any(row.missed for row in found))


if __name__ == "__main__":
    sys.exit(main())
