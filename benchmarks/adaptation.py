"""Annotate the same objects with and without *Adapt*, and count the actions (the second part of `make afternoon`).

A simulated user annotates nuclei, and another one glands, with `sampath-tiny`: once with the original decoder, and once
with rounds of adaptation after every eight new objects, as in the Annotate dock. Afterwards the adapted decoder answers
clicks on the other kind of tissue. Writes the last section of docs/afternoon.md.

    python -m benchmarks.adaptation --data ../shared/data
    python -m benchmarks.adaptation --full
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from skimage.measure import label

from napari_sampath.annotations import AnnotatedObject
from napari_sampath.arrays import ClassInfo
from napari_sampath.config import load_config
from napari_sampath.errors import DatasetError
from napari_sampath.jobs import run
from napari_sampath.predict import load_model
from napari_sampath.session import Session, journal_path
from napari_sampath.store import Store
from napari_sampath.training.evaluation.prompt_evaluation import points_needed
from napari_sampath.training.prompts.adaptation.adapt import adapt_job
from napari_sampath.training.prompts.adaptation.examples import (
    ExampleTile,
    RecordedObject,
    collect_job,
    sample_tiles,
)
from napari_sampath.widgets.viewer.training.adaptation import MAX_TILES, NEW_OBJECTS

from .simulated_user import SimulatedUser, innermost, iou, prompt_object

if TYPE_CHECKING:
    from napari_sampath.predict import Model

ROOT = Path(__file__).resolve().parent.parent
GOOD_IOU, MIN_AREA_PX, GROUP = 0.80, 30, 25
OTHERS, MANY = 4, 10_000
"""Objects of each image of other tissue, and a number that is larger than any count here."""
HEADING = "## With and without *Adapt*"
CLASS = ClassInfo(1, "object", (0, 158, 115))


@dataclass
class Picture:
    """An image with instances."""

    name: str
    pixels: np.ndarray
    """(H, W, 3) uint8 RGB."""
    targets: list[np.ndarray]
    """The objects to annotate, each (H, W) bool."""


@dataclass
class Count:
    """Result of annotating some objects."""

    actions: list[int] = field(default_factory=list)
    """Actions of each object, in order."""
    seconds: list[float] = field(default_factory=list)
    """Processor time of each round."""
    used: int = 0
    """Number of rounds whose decoder was used."""


def pictures(data: Path, folder: str, images: int, objects: int) -> Iterator[Picture]:
    """Yield validation images, alternating between cases, with at most some objects of each, without randomness."""
    with (data / folder / "index.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "val"]
    seen: dict[str, int] = {}
    ranked = []
    for row in sorted(rows, key=lambda row: row["name"]):
        case = row.get("group") or row["case_group"]
        ranked.append((seen.setdefault(case, 0), row["name"]))
        seen[case] += 1
    for _, name in sorted(ranked)[:images]:
        (image,), (mask,) = ((data / folder / part).glob(f"{name}.*") for part in ("images", "masks"))
        pixels, ids = np.asarray(Image.open(image).convert("RGB")), np.asarray(Image.open(mask))
        least: float = MIN_AREA_PX
        if folder == "ebhi_glands":
            ids, least = label(ids > 0), SimulatedUser.MIN_SHARE * ids.size
        numbers, areas = np.unique(ids, return_counts=True)
        large = [n for n, area in zip(numbers, areas, strict=True) if n and area >= least]
        chosen = np.random.default_rng(0).permutation(large)[:objects]
        yield Picture(name, pixels, [ids == number for number in chosen])


def annotate_object(session: Session, target: np.ndarray) -> tuple[int, AnnotatedObject | None]:
    """Annotate one object by clicks, and with the brush if they are not enough; return the actions and the object."""
    actions, shown = prompt_object(session, target, innermost(target), GOOD_IOU, SimulatedUser.CLICKS)
    if iou(shown, target) >= GOOD_IOU:
        return actions, session.commit()
    made = session.commit() if iou(shown, target) >= SimulatedUser.FAIR_IOU else None
    if made is None:
        session.prompts.clear()
        return actions + SimulatedUser.BRUSH, session.paint(*np.nonzero(target), CLASS.id)
    extra = (np.asarray(session.document.instance_map) == made.id) & ~target
    session.paint(*np.nonzero(extra), 0)
    return actions + SimulatedUser.BRUSH, session.paint(*np.nonzero(target), CLASS.id, made.id)


class User:
    """A person who annotates images one after the other.

    Args:
        model: The model; its decoder changes if it adapts.
        adapts: Whether the decoder learns.
    """

    def __init__(self, model: Model, adapts: bool) -> None:
        self.model, self.adapts, self.count = model, adapts, Count()
        if model.decoder is not None:
            model.decoder = model.decoder.original
        self._tiles: list[ExampleTile] = []
        self._old = sample_tiles(model)
        self._new = 0

    def annotate(self, picture: Picture) -> None:
        """Annotate the objects of an image."""
        folder = load_config().sessions_dir
        journal = journal_path(picture.pixels, folder / f"adapts-{self.adapts}")
        session = Session(picture.pixels, picture.name, self.model, (CLASS,), journal)
        tiles: list[ExampleTile] = []
        for target in picture.targets:
            actions, made = annotate_object(session, target)
            self.count.actions.append(actions)
            self._new += made is not None and bool(made.prompts)
            if self.adapts and self._new >= NEW_OBJECTS:
                self._new, tiles = 0, self._collect(session)
                self._round([*self._tiles, *tiles])
        self._tiles = [*self._tiles, *self._collect(session)][-MAX_TILES:]
        session.close()

    def _collect(self, session: Session) -> list[ExampleTile]:
        document = session.document
        examples = [
            RecordedObject.of(obj, document.pixels(obj.id), session.digest)
            for obj in document.objects.values()
        ]
        found = [example for example in examples if example is not None]
        return run(collect_job(found, session.hw, lambda frame: self.model.encode(session.image, frame)))

    def _round(self, tiles: list[ExampleTile]) -> None:
        decoder = self.model.decoder
        if decoder is None:
            return
        original = decoder.original
        start = None if decoder is original else decoder.mask_decoder.state_dict()
        begin = time.process_time()
        parts = original.prompt_encoder, original.mask_decoder
        try:
            result = run(adapt_job(*parts, start, tiles, self._old))
        except DatasetError:  # too few objects yet to learn from or to measure on
            return
        self.count.seconds.append(time.process_time() - begin)
        if result.better:
            self.count.used += 1
            self.model.decoder = decoder.with_weights(result.weights)


def clicks_on(model: Model, images: list[Picture]) -> float:
    """Return the mean number of clicks to IoU 0.80, at most 10, with the decoder in use."""
    clicks = []
    for picture in images:
        features = model.encode(picture.pixels)
        verified = np.ones(picture.pixels.shape[:2], dtype=np.bool_)
        clicks += [points_needed(model, features, target, verified) for target in picture.targets]
    return float(np.mean(clicks))


def table(counts: dict[str, tuple[Count, Count]]) -> str:
    """Return the actions per object of each group of objects as a Markdown table."""
    names = list(counts)
    header = " | ".join(f"{name}, {state}" for name in names for state in ("off", "on"))
    lines = [f"| objects | {header} |", "|---" * (1 + 2 * len(names)) + "|"]
    most = max(len(off.actions) for off, _ in counts.values())
    for first in range(0, most, GROUP):
        cells = [
            f"{np.mean(count.actions[first : first + GROUP]):.2f}" if count.actions[first:] else ""
            for pair in counts.values()
            for count in pair
        ]
        lines.append(f"| {first + 1} to {min(first + GROUP, most)} | {' | '.join(cells)} |")
    means = [f"{np.mean(count.actions):.2f}" for pair in counts.values() for count in pair]
    return "\n".join([*lines, f"| all | {' | '.join(means)} |"])


SECTION = """{heading}

[*Adapt*](annotating.md#let-the-model-adapt-to-your-objects) trains the prompt decoder on the objects that you commit.
Here a simulated user annotates {objects} with `{model}`,
once without and once with *Adapt*. Clicks, keys and the brush are counted as above, and the mask must reach an IoU of
{good:.2f}. An object that does not reach it in {clicks} clicks is corrected with the brush. The table contains the
actions per object, in the order in which the objects are annotated.

{table}

{rounds}

On tissue that the user has not annotated, the last adapted decoder should need no more clicks than the original one.
These are the clicks to an IoU of {good:.2f}, at most 10, for up to four objects in each of up to 14 images:

| annotated | other tissue | clicks per object, original decoder | adapted decoder |
|---|---|---|---|
{other}

{run}
`python -m benchmarks.adaptation --full` annotates all objects of all 18 validation images of nuclei and of 100
validation images of glands, which takes hours. Nuclei: TNBC (Naylor et al. 2019, CC BY 4.0){more}.
"""


def described_rounds(name: str, off: Count, on: Count) -> str:
    """Describe how the adapted decoder changed the actions, with a 95 % interval over objects, and the rounds."""
    change = np.subtract(on.actions, off.actions)
    half_width = 1.96 * float(change.std()) / len(change) ** 0.5
    low, high = change.mean() - half_width, change.mean() + half_width
    return (
        f"For {name}, *Adapt* changed the actions per object from {np.mean(off.actions):.2f} to "
        f"{np.mean(on.actions):.2f} (95 % interval of the difference {low:+.2f} to {high:+.2f}). {on.used} of "
        f"{len(on.seconds)} rounds gave a decoder that was used; the slowest took "
        f"{max(on.seconds, default=0.0):.0f} s of processor time."
    )


def first_objects(images: list[Picture], count: int) -> list[Picture]:
    """Return the first images with some objects in all."""
    chosen = []
    for picture in images:
        if count > 0 and picture.targets:
            chosen.append(Picture(picture.name, picture.pixels, picture.targets[:count]))
            count -= len(chosen[-1].targets)
    return chosen


def measure(data: Path, model: Model, objects: int, full: bool) -> str:
    """Annotate with both settings; return the section of the page."""
    nuclei = list(pictures(data, "tnbc_nuclei", 7, MANY if full else -(-objects // 6)))
    if full:
        nuclei += pictures(data, "bbbc038_nuclei", MANY, MANY)
    glands = list(pictures(data, "ebhi_glands", 100 if full else objects, MANY))
    if not full:
        nuclei, glands = first_objects(nuclei, objects), first_objects(glands, objects)
    counts, others, rounds, described = {}, [], [], []
    for name, images, other_name, other in (
        ("nuclei", nuclei, "glands", glands),
        ("glands", glands, "nuclei", nuclei),
    ):
        held: list[Picture] = [Picture(p.name, p.pixels, p.targets[:OTHERS]) for p in other[-14:]]
        users = User(model, False), User(model, True)
        before = clicks_on(model, held)
        for user in users:
            if model.decoder is not None:
                model.decoder = model.decoder.original
            for picture in images:
                user.annotate(picture)
            print(
                name, "on" if user.adapts else "off", f"{np.mean(user.count.actions):.2f} actions", flush=True
            )
        off, on = (user.count for user in users)
        counts[name] = off, on
        others.append(f"| {name} | {other_name} | {before:.2f} | {clicks_on(model, held):.2f} |")
        print(others[-1], flush=True)
        described.append(f"{len(off.actions)} {name} in {len(images)} images")
        rounds.append(described_rounds(name, off, on))
    return SECTION.format(
        heading=HEADING,
        objects=" and ".join(described),
        model=model.name,
        good=GOOD_IOU,
        clicks=SimulatedUser.CLICKS,
        table=table(counts),
        rounds="\n\n".join(rounds),
        other="\n".join(others),
        run="" if full else f"At most {objects} objects of each kind were annotated.",
        more=", BBBC038 (Caicedo et al. 2019, CC0)" if full else "",
    )


def write_section(page: Path, section: str) -> None:
    """Replace the last section of the page."""
    text = page.read_text(encoding="utf-8").split(HEADING)[0].rstrip()
    page.write_text(f"{text}\n\n{section}", encoding="utf-8")


def main() -> int:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default: Any = os.environ.get("SAMPATH_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder of afternoon.md")
    parser.add_argument("--objects", type=int, default=100, help="objects of each kind")
    parser.add_argument("--full", action="store_true", help="annotate all objects, which takes hours")
    options = parser.parse_args()
    if not (options.data / "tnbc_nuclei" / "index.csv").is_file():
        sys.exit(
            f"There are no nuclei in '{options.data}'; set SAMPATH_DATA to the folder with the tissue images."
        )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SAMPATH_CACHE"] = str(Path(folder) / "cache")
        os.environ["SAMPATH_USER_DATA"] = str(Path(folder) / "data")
        model = load_model("sampath-tiny", store=Store.from_config(load_config()))
        section = measure(options.data, model, options.objects, options.full)
    print(section)
    write_section(options.output / "afternoon.md", section)
    return 0


if __name__ == "__main__":
    sys.exit(main())
