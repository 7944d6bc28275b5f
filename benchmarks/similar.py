"""Measure *Find similar*: F1 at IoU 0.5 by number of exemplars, and the time of a search compared with one click.

    python -m benchmarks.similar --data FOLDER [--draws 20] [--kinds nucleus gland] [--step 1] [--split val]

Nuclei are those of bbbc038_nuclei and tnbc_nuclei. Exemplars are drawn at random from the true objects of each image,
and count neither as found nor as missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import napari_sampath as ns
from napari_sampath.arrays import LocalMask
from napari_sampath.config import load_config
from napari_sampath.jobs import run
from napari_sampath.predict.similar.find_similar import find_similar_job
from napari_sampath.predict.similar.settings import SimilarSettings
from napari_sampath.predict.similar.shipped_heads import ShippedHeads
from napari_sampath.store import Store
from napari_sampath.training.data.instances import InstanceImage, read_instances

if TYPE_CHECKING:
    from napari_sampath.predict import Model
    from napari_sampath.predict.similar.selection import SimilarResult

EXEMPLARS = (1, 3, 5)
IOU = 0.5


@dataclass(slots=True)
class Score:
    """Counts over all draws and images."""

    found: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def f1(self) -> float:
        """F1, 0..1."""
        return 2 * self.found / max(1, 2 * self.found + self.wrong + self.missed)

    def add(self, predicted: Sequence[LocalMask], truth: Sequence[LocalMask], exemplars: set[int]) -> None:
        """Match predicted masks to true ones, best first."""
        matched: set[int] = set()
        for mask in predicted:
            overlaps = [iou(mask, other) for other in truth]
            best = int(np.argmax(overlaps))
            if overlaps[best] > IOU and best not in matched:
                matched.add(best)
                self.found += best not in exemplars
            else:
                self.wrong += 1
        self.missed += len(set(range(len(truth))) - matched - exemplars)


def iou(a: LocalMask, b: LocalMask) -> float:
    """Return the IoU of two masks, each with step 1."""
    rows, cols = a.slices
    r, c = b.slices
    if rows.start >= r.stop or r.start >= rows.stop or cols.start >= c.stop or c.start >= cols.stop:
        return 0.0
    shared = int((a.bitmap & b.window((rows.start, cols.start, rows.stop, cols.stop))).sum())
    return shared / max(1, a.area_px + b.area_px - shared)


def read(data: Path, split: str, kind: str) -> list[InstanceImage]:
    """Return the images of a kind of object; the collection that `sampath-tiny` learned from has no TNBC images."""
    images = read_instances(data, split, (kind,))
    return images + (read_instances(data / "tnbc_nuclei", split) if kind == "nucleus" else [])


def measure(images: Sequence[InstanceImage], model: Model, draws: int) -> dict[int, Score]:
    """Return the score for each number of exemplars."""
    scores: dict[int, Score] = defaultdict(Score)
    for image in images:
        truth = [LocalMask.from_dense(image.instances == number) for number in image.objects()]
        rng = np.random.default_rng(0)
        hw = (image.pixels.shape[0], image.pixels.shape[1])

        tile, heads = partial(model.encode, image.pixels), ShippedHeads(model, image.pixels)
        for count in EXEMPLARS:
            for _ in range(draws if len(truth) > count else 0):
                chosen = {int(n) for n in rng.choice(len(truth), count, replace=False)}
                exemplars = [truth[n] for n in chosen]
                result = run(find_similar_job(hw, exemplars, model, tile, heads=heads))
                scores[count].add([obj.mask for obj in result.select(SimilarSettings())], truth, chosen)
        print(image.name, {count: round(scores[count].f1, 3) for count in scores}, file=sys.stderr)
    return scores


def cost(image: InstanceImage, model: Model, repeats: int = 3) -> tuple[float, int]:
    """Return the time of a search on encoded tiles divided by that of a click, and the number of candidates."""
    truth = [LocalMask.from_dense(image.instances == number) for number in image.objects()]
    hw = (image.pixels.shape[0], image.pixels.shape[1])
    tile = cache(partial(model.encode, image.pixels))

    def search() -> SimilarResult:
        heads = ShippedHeads(model, image.pixels)
        return run(find_similar_job(hw, truth[:1], model, tile, heads=heads))

    result = search()
    whole = model.encode(image.pixels)
    point = [(truth[0].col + truth[0].bitmap.shape[1] / 2, truth[0].row + truth[0].bitmap.shape[0] / 2)]
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeats):
        for name, call in (
            ("search", lambda: search().select()),
            ("click", lambda: model.predict(whole, points=point)),
        ):
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return float(np.median(times["search"]) / np.median(times["click"])), len(result.candidates)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print one row for each kind of object and number of exemplars."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.similar", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("SAMPATH_DATA"))
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", default=["nucleus", "gland"])
    parser.add_argument("--split", default="val", help="split of the images (default: val)")
    parser.add_argument("--step", type=int, default=1, help="use every Nth image")
    args = parser.parse_args(argv)
    model = ns.load_model("sampath-tiny", store=Store.from_config(load_config()))
    for kind in args.kinds:
        images = read(args.data, args.split, kind)[:: args.step]
        for count, score in sorted(measure(images, model, args.draws).items()):
            print(
                f"{kind}, {count} exemplars: F1 {score.f1:.3f} (found {score.found}, wrong {score.wrong}, "
                f"missed {score.missed})"
            )
        ratio, candidates = cost(images[0], model)
        print(f"{kind}: a search takes {ratio:.1f}x the processor time of a click, {candidates} candidates")
    return 0


if __name__ == "__main__":
    sys.exit(main())
