"""Measure the latency of the docks and write docs/latency.md.

python -m benchmarks.gui            everything (`make bench-gui` provides a display); about 20 minutes on two cores
python -m benchmarks.gui --quick    checks that everything runs; the numbers are meaningless

If micro-sam is installed in the same environment, its 2D annotator is measured too.
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

from napari_sampath.widgets.background.native_libraries import import_triton_isolated

from ..__main__ import machine
from ..table import Row, limited, seconds, to_markdown, to_text

if TYPE_CHECKING:
    from .micro_sam_window import MicroSamViewer
    from .windows import PredictorViewer, SampathViewer

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "latency.md"
SIDES = (1024, 4096, 8192)

PAGE_TEXT = """# Latency

After reading this page, you know how long a click, an undo and a preview take, and how long background jobs block the
window. Run `make bench-gui` to measure it on your machine. It drives napari with the docks in a window of 1,280 x 800
px by mouse and key events, and measures from the event to the end of the frame that shows the result. One image pixel
is one canvas pixel. The preview under the mouse is off except where it is measured.

{machine}

The display is Xvfb: OpenGL is rendered by the CPU, so a frame takes much longer than with a graphics card. The row "a
frame in which nothing has changed" shows how much of each time is spent on that.

"Beyond the decoder" is the total time minus the time in `Model.decode`. It is measured with the shipped `sampath-tiny`
on synthetic nuclei, and with SAM's full-size mask decoder (the same in ViT-B, ViT-L and ViT-H) with random weights,
which takes as long as with trained weights but returns large, ragged masks. No click waits for the encoder.

napari paints its whole window while it holds Python's interpreter lock, even if only the status text changes, as it
does with every mouse move. With software OpenGL this takes most of the time while the mouse moves, and previews wait
for it.

If Numba is installed, as with micro-sam and `napari[all]`, napari uses it to colour labels, and the GUI thread gets
its own OpenMP threads. With more threads than cores, PyTorch's threads sleep while they wait for each other, and a
prompt on `sampath-tiny` takes 1.5 times as long. The docks prevent this by colouring their own layers in one thread;
other label layers with wide integer types are still affected.

The rows "SamPredictor in the GUI thread" show what other plugins do, in the same process and with the same weights:
`segment_anything.SamPredictor.predict` runs in the GUI thread on the embedding of the whole image, and the mask
replaces the data of a label layer. On images larger than a tile the docks decode the tile around the click at full
resolution, so the masks differ; only the waiting time is compared. The rows "micro-sam" show its 2D annotator with a
ViT-B that has the same decoder: a click, then S, which requests the mask. They appear if micro-sam is installed.

The rows about 5,000 objects and 20,000 steps measure the session without a window.

{table}

{verdict}
"""


def clicks(quick: bool, folder: Path) -> Iterator[Row]:
    """Time clicks on images of several sizes, and compare them with other implementations."""
    from ..models import tissue
    from ..tiny_sam import tiny_model
    from .windows import SampathViewer

    sides, repeats = ((256, 512), 3) if quick else (SIDES, 12)
    load, tile = functools.cache(tiny_model), tissue(256 if quick else 1024)
    totals: dict[int, list[float]] = {side: [] for side in sides}
    viewers: dict[int, SampathViewer] = {}
    for side in sides:
        pixels = tiled(tile, side)
        # Change one pixel, so that each image has its own journal.
        pixels[0, 0] = side % 251
        viewers[side] = SampathViewer(pixels, load, folder)
    beyond: dict[int, list[float]] = {side: [] for side in sides}
    rng = np.random.default_rng(0)
    for turn in range(repeats + 1):
        for side in sides:
            x, y = side / 2 + rng.uniform(-80, 80, 2)
            total, decoding = viewers[side].time_click(x, y)
            if turn:
                beyond[side].append(total - decoding)
                totals[side].append(total)
    small, large = sides[0], sides[-1]
    what = f"the same with SAM's own decoder, {small:,} px, p50"
    yield Row(what, seconds(statistics.median(beyond[small])), "", None, None)
    ratio = statistics.median(beyond[large]) / statistics.median(beyond[small])
    yield limited(f"click beyond the decoder, {large:,} px : {small:,} px", ratio, 1.3, ": 1", "medians")
    yield from undo(viewers[large], large, quick)
    for window in viewers.values():
        window.close()
    medians = {side: statistics.median(totals[side]) for side in (sides[:1] if quick else sides)}
    yield from compare(medians, tile, folder, 3 if quick else 8)


def compare(ours: dict[int, float], tile: np.ndarray, folder: Path, turns: int) -> Iterator[Row]:
    """Time the same clicks in other implementations; `ours` maps image side to seconds."""
    from ..models import shared_embedding
    from .windows import PredictorViewer

    for side, seconds_ours in ours.items():
        predictor = PredictorViewer(tiled(tile, side), shared_embedding(side)[1])
        yield comparison("SamPredictor in the GUI thread", side, seconds_ours, predictor, turns)
    if importlib.util.find_spec("micro_sam") is None:
        return
    from .micro_sam_window import MicroSamViewer, vit_b_file

    weights, name = vit_b_file(folder / "vit_b.pth"), f"micro-sam {importlib.metadata.version('micro-sam')}"
    for side, seconds_ours in ours.items():
        yield comparison(name, side, seconds_ours, MicroSamViewer(tiled(tile, side), weights), turns)


def comparison(
    name: str, side: int, ours: float, theirs: PredictorViewer | MicroSamViewer, turns: int
) -> Row:
    """Time clicks in another implementation and return its row."""
    rng = np.random.default_rng(0)
    times = [theirs.time_click(*(side / 2 + rng.uniform(-80, 80, 2))) for _ in range(turns)]
    theirs.close()
    other = statistics.median(times[1:])
    what = f"click to painted pixels, {side:,} px, compared with {name}"
    return Row(what, seconds(ours), seconds(other), other / ours, 10.0 if side == 8192 else None)


def tiled(tile: np.ndarray, side: int) -> np.ndarray:
    """Repeat a square image until it has the given side, a multiple of its own."""
    times = side // len(tile)
    return np.tile(tile, (times, times, 1))


def click(window: SampathViewer, quick: bool) -> Iterator[Row]:
    """Time from a click on a nucleus to its painted mask, minus the time in the decoder."""
    beyond: list[float] = []
    frames: list[float] = []
    side = len(window.image.data)
    # Click only on nuclei: elsewhere the mask may be empty, and no frame would be painted.
    middle = window.image.data[3 * side // 10 : 7 * side // 10, 3 * side // 10 : 7 * side // 10, 0]
    nuclei = np.argwhere(middle < 150)[:, ::-1] + 3 * side // 10 + 0.5
    spots = np.random.default_rng(0).choice(nuclei, 3 if quick else 41)
    for turn, (x, y) in enumerate(spots):
        total, decoding = window.time_click(x, y)
        if turn:
            beyond.append(total - decoding)
        frames.append(window.frame())
    yield Row("a frame in which nothing has changed", seconds(statistics.median(frames)), "", None, None)
    for name, share, limit in (("p50", 50, 20.0), ("p95", 95, 50.0)):
        value = 1000 * float(np.percentile(beyond, share))
        yield limited(f"click to painted pixels beyond the decoder, {side:,} px, {name}", value, limit, "ms")
    without_frame = max(0.0, statistics.median(beyond) - statistics.median(frames))
    yield Row("the same minus one frame, p50", seconds(without_frame), "", None, None)


def undo(window: SampathViewer, side: int, quick: bool) -> Iterator[Row]:
    """Time undo and redo by key for a commit as wide as a quarter of the image."""
    from .windows import CTRL, SHIFT

    rows, cols = np.ogrid[:side, :side]
    disc = np.nonzero((rows - side / 2) ** 2 + (cols - side / 2) ** 2 <= (side / 8) ** 2)
    window.session.paint(*disc, 1)
    window.wait(1.0)
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
    """Measure clicks, previews and stalls with `sampath-tiny`."""
    from ..models import load, tissue
    from .background import stalls
    from .windows import SampathViewer

    window = SampathViewer(tissue(256 if quick else 1024), functools.partial(load, "sampath-tiny"), folder)
    yield from click(window, quick)
    yield from hover(window, quick)
    yield from stalls(window, folder, quick)
    window.close()


def hover(window: SampathViewer, quick: bool) -> Iterator[Row]:
    """Count the previews that are shown while the mouse keeps moving."""
    preview = window.state.annotator.preview
    preview.on = True
    shown_at: list[float] = []
    line, show = preview.line, preview.line.show
    line.show = lambda *args, **kwargs: (shown_at.append(time.perf_counter()), show(*args, **kwargs))
    centre, begin, step = len(window.image.data) / 2, time.perf_counter(), 0
    while time.perf_counter() - begin < (1 if quick else 10):
        step += 1
        window.driver.move(centre + 80 * np.cos(step / 20), centre + 80 * np.sin(step / 20))
    rate = len(shown_at) / (time.perf_counter() - begin)
    del line.show
    preview.on = False
    yield Row(
        "previews under a moving mouse, sampath-tiny",
        f"{rate:.1f} per second",
        "at least 8 per second",
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


def page(measured: Sequence[Row], description: str) -> str:
    """Return the text of docs/latency.md."""
    missed = [row for row in measured if row.missed]
    verdict = (
        "All bars are met."
        if not missed
        else f"{len(missed)} of {sum(r.bar is not None for r in measured)} bars missed."
    )
    return PAGE_TEXT.format(machine=description, table=to_markdown(measured), verdict=verdict)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gui", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only check that everything runs")
    options = parser.parse_args()
    import_triton_isolated()
    description, measured = machine(), []
    for row in rows(options.quick):
        print("  ".join(filter(None, row.cells())), file=sys.stderr, flush=True)
        measured.append(row)
    print(f"{description}\n\n{to_text(measured)}")
    if not options.quick:
        PAGE.write_text(page(measured, description), encoding="utf-8")
    return int(any(row.missed for row in measured))


if __name__ == "__main__":
    sys.exit(main())
