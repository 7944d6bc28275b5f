"""Share of corrupted labels that `sampath dataset rank` lists first: `python -m benchmarks.label_ranking`.

Five percent of the objects of the validation images get another class, are moved by half of their diameter, or are
removed. The table tells which share of them is among the first tenth of the list, as long as a tenth of the objects.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from skimage.measure import label

from napari_sampath.arrays import ClassInfo
from napari_sampath.predict import load_model
from napari_sampath.store import MemoryTier, Store
from napari_sampath.training import Dataset, Sample, open_dataset
from napari_sampath.training.data.dataset import Item
from napari_sampath.training.rounds.label_ranking import LabelLoss, most_suspicious, rank_labels

SHARE, FIRST = 0.05, 0.10
BAR = 0.60
MIN_PX = 30


@dataclass(frozen=True)
class Corrupted:
    """An object whose label was changed."""

    image: str
    kind: str
    number: int
    """Number of the object; 0 if it was removed."""
    box: tuple[int, int, int, int]
    """Place (r0, c0, r1, c1) of the true object."""


def corrupt(
    items: dict[str, Item], kinds: tuple[str, ...], rng: np.random.Generator
) -> tuple[dict[str, Item], list[Corrupted], int]:
    """Corrupt some objects; return the new items, what was changed, and the number of objects."""
    objects = []
    for name, item in items.items():
        ids, areas = np.unique(item.instances, return_counts=True)
        objects += [(name, int(i)) for i, area in zip(ids, areas, strict=True) if i > 0 and area >= MIN_PX]
    chosen = rng.permutation(len(objects))[: max(len(kinds), round(SHARE * len(objects)))]
    changed = {name: (item.labels.copy(), item.instances.copy()) for name, item in items.items()}
    values = sorted({int(v) for labels, _ in changed.values() for v in np.unique(labels) if v > 0})
    made = []
    for turn, index in enumerate(chosen):
        name, number = objects[index]
        labels, instances = changed[name]
        mask = instances == number
        rows, cols = np.nonzero(mask)
        box = (int(rows.min()), int(cols.min()), int(rows.max()) + 1, int(cols.max()) + 1)
        value, kind = int(labels[rows[0], cols[0]]), kinds[turn % len(kinds)]
        if kind == "swapped":
            labels[mask] = rng.choice([other for other in values if other != value])
        else:
            labels[mask], instances[mask] = 0, 0
        if kind == "shifted":
            angle, step = rng.uniform(0, 2 * np.pi), np.sqrt(len(rows) / np.pi)
            moved_r = np.round(rows + step * np.sin(angle)).astype(int)
            moved_c = np.round(cols + step * np.cos(angle)).astype(int)
            inside = (moved_r >= 0) & (moved_c >= 0) & (moved_r < mask.shape[0]) & (moved_c < mask.shape[1])
            moved_r, moved_c = moved_r[inside], moved_c[inside]
            free = instances[moved_r, moved_c] == 0
            labels[moved_r[free], moved_c[free]], instances[moved_r[free], moved_c[free]] = value, number
        made.append(Corrupted(name, kind, 0 if kind == "missing" else number, box))
    new = {name: replace(items[name], labels=maps[0], instances=maps[1]) for name, maps in changed.items()}
    return new, made, len(objects)


def is_found(change: Corrupted, listed: list[LabelLoss]) -> bool:
    """Return True if the object, or a region that lies half in its true place, is listed."""
    for entry in listed:
        if entry.image != change.image:
            continue
        if change.number and entry.object == change.number:
            return True
        r0, c0, r1, c1 = (
            max(entry.box[0], change.box[0]),
            max(entry.box[1], change.box[1]),
            min(entry.box[2], change.box[2]),
            min(entry.box[3], change.box[3]),
        )
        area = (entry.box[2] - entry.box[0]) * (entry.box[3] - entry.box[1])
        if not entry.object and change.kind != "swapped" and max(0, r1 - r0) * max(0, c1 - c0) > 0.5 * area:
            return True
    return False


def read(
    folder: Path, split: str, classes: dict[str, list[int]] | None, images: int
) -> tuple[Dataset, dict[str, Item]]:
    """Read a split; `classes` groups the label values of a dataset of classes, None keeps its objects."""
    dataset = open_dataset(folder)
    samples = [sample for sample in dataset.samples if sample.split == split]
    step = max(1, len(samples) // images)
    items = {}
    for sample in samples[::step][:images]:
        item = sample.read()
        if classes is not None:
            labels = np.zeros_like(item.labels)
            for value, members in enumerate(classes.values(), start=1):
                labels[np.isin(item.labels, members)] = value
            item = replace(item, labels=labels, instances=label(labels, connectivity=1).astype(np.int32))
        items[sample.name] = item
    return dataset, items


def with_items(dataset: Dataset, items: dict[str, Item], names: tuple[str, ...]) -> Dataset:
    """Return a dataset in memory."""
    groups = {sample.name: sample.group for sample in dataset.samples}
    infos = [ClassInfo(0, "background", (0, 0, 0))]
    infos += [ClassInfo(number, name, (0, 60 * number, 0)) for number, name in enumerate(names, start=1)]
    samples = tuple(
        Sample(name, Path(name), Path(name), groups[name], "val", load=lambda sample: items[sample.name])
        for name in items
    )
    return Dataset(dataset.name, samples, tuple(infos), {info.id: info.id for info in infos})


def measure(data: Path, split: str, images: int, seed: int, store: Store, only: str = "") -> Iterator[str]:
    """Yield one row of the table for each set of images."""
    model = load_model("sampath-tiny", device="cpu", store=store)
    glands = {"normal": [1], "polyp": [2], "neoplasia": [3, 4, 5, 6]}
    cases = (
        ("ebhi_glands", glands, ("swapped", "shifted", "missing")),
        ("bbbc038_nuclei", None, ("shifted", "missing")),
    )
    for folder, classes, kinds in cases:
        if only not in folder:
            continue
        dataset, items = read(data / folder, split, classes, images)
        names = tuple(classes) if classes else ("nucleus",)
        changed, made, count = corrupt(items, kinds, np.random.default_rng(seed))
        begin = time.process_time()
        ranked = rank_labels(with_items(dataset, changed, names), model)
        took = time.process_time() - begin
        listed = most_suspicious(ranked, FIRST)
        found = [change for change in made if is_found(change, listed)]
        by_kind, total = Counter(c.kind for c in found), Counter(c.kind for c in made)
        parts = ", ".join(f"{kind} {by_kind[kind]} of {total[kind]}" for kind in kinds)
        share = len(found) / len(made)
        yield (
            f"| {folder} {split}, seed {seed} | {len(items)} | {count} | {len(made)} | {parts} | {100 * share:.0f} % | "
            f"{'met' if share >= BAR else 'missed'} | {took:.0f} s |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.label_ranking", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SAMPATH_DATA", "../shared/data")))
    parser.add_argument("--split", default="val", choices=("train", "val"))
    parser.add_argument("--images", type=int, default=40, help="largest number of images of a set")
    parser.add_argument("--only", default="", help="sets whose name contains this text")
    parser.add_argument("--first-seed", type=int, default=0, help="first random corruption")
    parser.add_argument("--seeds", type=int, default=3, help="number of random corruptions")
    args = parser.parse_args()
    print("| images | number | objects | corrupted | found | share (bar 60 %) | | CPU time |")
    print("|---|---|---|---|---|---|---|---|")
    store = Store(MemoryTier(2**31))  # The first corruption of a set includes the encoding.
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for row in measure(args.data, args.split, args.images, seed, store, args.only):
            print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
