"""Longest stall of the event loop during background jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.session.proposals.new_objects import NewObject, NewObjects
from napari_sampath.session.proposals.result_filter import ResultFilter
from napari_sampath.widgets.common.segment_jobs import segment_job

from ..gui_driver import wait_until
from ..models import tissue
from ..stalls import StallMeter
from ..table import Row, limited
from .windows import SampathViewer

LIMIT_MS = 100.0
OBJECTS = 5000
NUCLEUS = ClassInfo(1, "nucleus", (104, 70, 150))


def stalls(window: SampathViewer, folder: Path, quick: bool) -> Iterator[Row]:
    """Measure the longest stall of the event loop during each job, while the mouse moves."""
    side, model = 256 if quick else 2048, window.model
    pixels = tissue(side)
    jobs: dict[str, Callable[[], Any]] = {
        "encoding (sampath-tiny)": lambda: _encode(model, pixels),
        "auto-segmenting (gland-cnn)": lambda: segment_job(
            pixels, "gland-cnn", model, None, ResultFilter(16)
        ),
        "training (cnn head)": lambda: _train(model, folder, quick),
        "exporting": lambda: window.session.files.export_job(folder / "export", ("png", "tiff")),
    }
    idle = _longest(window, None, quick)
    yield Row("longest stall without a job, the mouse moving", f"{idle:.0f} ms", "", None, None)
    for name, job in jobs.items():
        worst = _longest(window, job(), quick)
        yield limited(f"longest stall while {name}", worst, LIMIT_MS, "ms")

    components = _grid_of_nuclei(window.session.hw, 60 if quick else OBJECTS)
    change = window.session.proposals.replace(components)
    worst = _longest(window, change.prepare(), quick, change.take)
    yield limited(
        f"longest stall while adding {len(components.objects):,} objects of a head", worst, LIMIT_MS, "ms"
    )


def _longest(
    window: SampathViewer, job: Any, quick: bool, then: Callable[[Any], object] = lambda result: result
) -> float:
    results: list[Any] = []
    failed: list[str] = []
    runner = window.state.runner
    runner.failed.connect(failed.append)
    height, width = window.image.data.shape[:2]
    if job is not None:
        runner.start(job, "measuring", lambda result: results.append(then(result)))
    meter = StallMeter()
    step = 0
    steps_after: list[int] = []

    def finished() -> bool:
        nonlocal step
        step += 1
        if step % 20 == 0:
            angle = step / 40
            window.driver.move(width / 2 + 90 * np.cos(angle), height / 2 + 90 * np.sin(angle))
        # Continue for some steps after the job, because its result is painted then.
        if results:
            steps_after.append(step)
        return bool(len(steps_after) > 40 or failed) if job is not None else step > (100 if quick else 400)

    wait_until(finished, 1200, "the job to end")
    worst = meter.stop()
    runner.failed.disconnect(failed.append)
    if failed:
        raise RuntimeError(failed[0])
    return 1000 * worst


def _grid_of_nuclei(hw: tuple[int, int], count: int) -> NewObjects:
    """Return a grid of round objects, as if found by a head."""
    side = int((hw[0] * hw[1] / count) ** 0.5)
    rows, cols = np.indices((side - 2, side - 2)) - (side - 3) / 2
    disc = rows**2 + cols**2 < (side / 2 - 1) ** 2
    places = [(r, c) for r in range(0, hw[0] - side, side) for c in range(0, hw[1] - side, side)][:count]
    return NewObjects(
        tuple(NewObject(1, LocalMask(r, c, disc), 0.9) for r, c in places), (NUCLEUS,), "a head"
    )


def _encode(model: Any, pixels: np.ndarray) -> Any:
    from napari_sampath.tiling import tiles

    return model.encode_job(pixels, tiles((pixels.shape[0], pixels.shape[1])))


def _train(model: Any, folder: Path, quick: bool) -> Any:
    from napari_sampath.training import TrainingConfig, open_dataset, train_job

    data = DatasetFolder.create(folder / "dataset", [NUCLEUS])
    for number in range(2 if quick else 6):
        image = np.roll(tissue(256), 40 * number, axis=1)
        dark = (image[..., 0] < 160).astype(np.uint8)
        data.save_image(Snapshot(f"p{number}", image, dark, mpp=0.5), group=f"slide {number // 2}")
    config = TrainingConfig(epochs=2 if quick else 8, batch_size=2, head_arguments={"top_channel": 16})
    return train_job(open_dataset(data.path), "cnn", config, model, folder / "head.safetensors")
