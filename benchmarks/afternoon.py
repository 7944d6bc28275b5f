"""Simulate an afternoon of annotating glands: correct, retrain, predict, on real tissue (`make afternoon`).

There are three rounds of ten images. In round 1 every gland is prompted; afterwards a head is trained on the
annotations and proposes objects on the next images, which are corrected. Clicks are simulated with the true masks;
everything else uses the same calls as the docks. Then objects are annotated with and without *Adapt*, see
`benchmarks.adaptation`. Writes docs/afternoon.md, with screenshots if there is a display.

    python -m benchmarks.afternoon --data ../shared/data
    python -m benchmarks.afternoon --rounds 2 --images 3 --unseen 3 --output build/afternoon
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.config import load_config
from napari_sampath.formats import FORMATS
from napari_sampath.jobs import run
from napari_sampath.predict import load_model, segment
from napari_sampath.session import (
    FolderQueue,
    ResultFilter,
    Session,
    TrainingSamples,
    from_segmentation,
    journal_path,
)
from napari_sampath.store import Store
from napari_sampath.training import TrainingConfig
from napari_sampath.training.rounds.heads_in_use import HeadsInUse
from napari_sampath.training.rounds.rounds import round_job

from .adaptation import measure, write_section
from .simulated_user import SimulatedUser, dice

ROOT = Path(__file__).resolve().parent.parent
GLAND = ClassInfo(1, "gland", (0, 158, 115))
MIN_AREA_PX = 64
SEED_NOISE = 0.01
"""Difference in Dice that can also result from a different random seed."""


@dataclass
class Row:
    """Results of one round."""

    images: int
    objects: int
    actions: int
    """Clicks, key presses for another candidate, and brush strokes weighted as clicks."""
    proposed: float | None
    """Mean Dice of the proposals before any correction; None in the first round."""
    corrected: float
    """Mean Dice after correction."""
    unseen: float
    """Mean Dice of the head trained after the round, on images of other cases."""
    seconds: float
    """Processor time of the training."""

    @property
    def clicks(self) -> float:
        """Actions per object."""
        return self.actions / max(1, self.objects)


def choose(data: Path, split: str, count: int) -> list[str]:
    """Choose images spread over cases and kinds of gland, without randomness."""
    with (data / "index.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == split]
    seen: Counter[str] = Counter()
    ranked = []
    for row in sorted(rows, key=lambda row: row["name"]):
        ranked.append((seen[row["case_group"]], row["name"], row["class"]))
        seen[row["case_group"]] += 1
    queues: dict[str, list[str]] = defaultdict(list)
    for _, name, kind in sorted(ranked):  # the first image of each case comes before any second image
        queues[kind].append(name)
    chosen: list[str] = []
    while len(chosen) < count and any(queues.values()):
        chosen += [queue.pop(0) for queue in queues.values() if queue]
    return chosen[:count]


def read(data: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its true mask."""
    (image,) = (data / "images").glob(f"{name}.*")
    (mask,) = (data / "masks").glob(f"{name}.*")
    return np.asarray(Image.open(image).convert("RGB")), np.asarray(Image.open(mask)) > 0


class Afternoon:
    """Rounds of annotating, training and predicting.

    Args:
        data: Folder of the dataset `ebhi_glands`.
        work: Folder for images, dataset and exports.
        model: Promptable model whose features the heads use.
    """

    def __init__(self, data: Path, work: Path, model: Any) -> None:
        self.data, self.work, self.model = data, work, model
        self.samples = TrainingSamples(work / "dataset")
        self.heads = HeadsInUse(work / "dataset")
        self.rows: list[Row] = []

    def copy(self, names: list[str]) -> FolderQueue:
        """Copy the images into a folder and open it as a queue."""
        folder = self.work / "images"
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names):
            (source,) = (self.data / "images").glob(f"{name}.*")
            shutil.copy(source, folder / f"{number:02d} {name}{source.suffix}")
        return FolderQueue(folder, load_config().sessions_dir)

    def round(self, queue: FolderQueue, count: int, unseen: list[str], epochs: int) -> Row:
        """Annotate the next images of the queue, then train a head."""
        objects = actions = 0
        proposed, corrected = [], []
        for _ in range(count):
            name = queue.current.path.stem.split(" ", 1)[1]
            pixels, truth = read(self.data, name)
            folder = load_config().sessions_dir
            session = Session(
                pixels, queue.current.path.stem, self.model, (GLAND,), journal_path(pixels, folder)
            )
            session.proposals.stage = "semi-automatic"
            if self.heads.current is not None:
                segmentation = segment(pixels, self.heads.current, self.model)
                session.proposals.offer(from_segmentation(segmentation, ResultFilter(MIN_AREA_PX)))
                proposed.append(dice(np.asarray(session.document.class_map) > 0, truth))
            user = SimulatedUser(session, truth)
            actions += user.annotate()
            objects += user.objects
            corrected.append(dice(np.asarray(session.document.class_map) > 0, truth))
            session.area.complete((0, 0, *session.hw))
            self.samples.mark_changed(session)
            job = self.samples.save_job()
            if job is not None:
                run(job)
            session.files.export(self.work / "export", tuple(FORMATS))
            session.close()
            queue.mark(queue.current.path.name, "done")
            queue.next()
        begin = time.process_time()
        trained = run(
            round_job(self.samples.folder, self.heads, "cnn", self.model, TrainingConfig(epochs=epochs))
        )
        seconds = time.process_time() - begin
        self.heads.offer(trained.path)
        self.heads.accept()
        scores = []
        for name in unseen:
            pixels, truth = read(self.data, name)
            scores.append(dice(segment(pixels, self.heads.current, self.model).labels > 0, truth))
        return Row(
            count,
            objects,
            actions,
            float(np.mean(proposed)) if proposed else None,
            float(np.mean(corrected)),
            float(np.mean(scores)),
            seconds,
        )


def table(rows: list[Row]) -> str:
    """Return the rounds as a Markdown table."""
    lines = [
        "| round | images | glands | clicks per gland | Dice of the proposals | Dice after correction | "
        "Dice of the new head on unseen cases | training |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number, row in enumerate(rows, start=1):
        proposal = "by hand" if row.proposed is None else f"{row.proposed:.3f}"
        lines.append(
            f"| {number} | {row.images} | {row.objects} | {row.clicks:.2f} | {proposal} | {row.corrected:.3f} | "
            f"{row.unseen:.3f} | {row.seconds:.0f} s |"
        )
    return "\n".join(lines)


def shortfalls(rows: list[Row]) -> list[str]:
    """Describe where the last round is no better than the first: clicks per gland, Dice of the proposals."""
    first, last = rows[0], rows[-1]
    proposals = [row.proposed for row in rows if row.proposed is not None]
    sentences = []
    if last.clicks >= first.clicks:
        sentences.append(
            f"A gland took {last.clicks:.2f} clicks in the last round and {first.clicks:.2f} in the first."
        )
    if len(proposals) > 1 and proposals[-1] <= proposals[0]:
        sentences.append(
            f"The last proposals have a Dice of {proposals[-1]:.3f}, the first ones {proposals[0]:.3f}."
        )
    return sentences


def on_unseen(rows: list[Row]) -> str:
    """Describe the effect of the later rounds on the Dice on unseen cases."""
    gain = rows[-1].unseen - rows[0].unseen
    if abs(gain) < SEED_NOISE:
        return f"The images of the later rounds hardly changed it ({gain:+.3f})."
    return f"The images of the later rounds changed it by {gain:+.3f}."


PAGE = """# A simulated afternoon

After reading this page, you know how many clicks it takes to annotate glands, and how many a trained head saves. `make
afternoon` repeats the experiment on real H&E tissue (EBHI-Seg glands, 224 x 224 px at 400x).

A simulated user annotates a folder of {images} images in {rounds} rounds. In round 1 every gland is prompted with
`{model}`. After each round, a head is trained on all annotations so far. It proposes objects on the next images,
and the user corrects them. The user is simulated with the published masks: it clicks on the middle of the largest
error, adds points until the mask reaches an IoU of {good}, chooses another candidate if that fits better, and uses the
brush, counted as {brush} clicks, where clicks do not help. Every click, key press and deletion counts.

{table}

The Dice on unseen cases is measured on {unseen} images of cases without annotated images; labelling every
pixel as gland reaches {trivial:.3f} there. {on_unseen}
The rounds, with exports in every format, took {minutes:.0f} min of processor time.
{verdict}
{pictures}
Data: EBHI-Seg (Shi et al. 2023, CC BY 4.0).
"""


def main() -> int:
    """Run the afternoon and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("SAMPATH_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder of afternoon.md")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=10, help="images per round")
    parser.add_argument("--unseen", type=int, default=20, help="images of other cases for evaluation")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument(
        "--objects", type=int, default=100, help="objects of each kind to annotate with and without *Adapt*"
    )
    options = parser.parse_args()
    data = Path(options.data) / "ebhi_glands"
    if not (data / "index.csv").is_file():
        sys.exit(f"There are no glands in '{data}'; set SAMPATH_DATA to the folder with the tissue images.")
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SAMPATH_CACHE"] = str(Path(folder) / "cache")
        os.environ["SAMPATH_USER_DATA"] = str(Path(folder) / "data")
        model = load_model("sampath-tiny", store=Store.from_config(load_config()))
        work = Afternoon(data, Path(folder), model)
        queue = work.copy(choose(data, "train", options.rounds * options.images))
        unseen = choose(data, "val", options.unseen)
        for _ in range(options.rounds):
            work.rows.append(work.round(queue, options.images, unseen, options.epochs))
            print(table(work.rows[-1:]).splitlines()[-1], flush=True)
        minutes = (time.process_time() - begin) / 60
        options.output.mkdir(parents=True, exist_ok=True)
        pictures = ""
        if os.environ.get("DISPLAY"):
            from .afternoon_screenshots import take_screenshots

            pictures = take_screenshots(Path(folder), model, options.output)
        adaptation = measure(Path(options.data), model, options.objects, full=False)
    missing = shortfalls(work.rows)
    page = PAGE.format(
        images=options.rounds * options.images,
        rounds=options.rounds,
        model=model.name,
        good=SimulatedUser.GOOD_IOU,
        brush=SimulatedUser.BRUSH,
        table=table(work.rows),
        unseen=len(unseen),
        trivial=np.mean(
            [dice(np.ones_like(truth), truth) for _, truth in (read(data, name) for name in unseen)]
        ),
        minutes=minutes,
        on_unseen=on_unseen(work.rows),
        verdict="".join(f"\n**Not reached:** {sentence}\n" for sentence in missing),
        pictures=pictures,
    )
    (options.output / "afternoon.md").write_text(page, encoding="utf-8")
    write_section(options.output / "afternoon.md", adaptation)
    print(table(work.rows))
    print("\n".join(missing) or "The last round is better than the first in clicks and in Dice.")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
