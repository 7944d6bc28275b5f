"""Scripted session that is killed. Run: python journal_victim.py FOLDER COUNT SEED

Forks COUNT children, one after the other. Each runs `script` on its own journal and writes a byte to a pipe after each
finished step, until it is killed with SIGKILL shortly after a random step. Prints one JSON line per child: the journal
and the number of steps it reported.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_sampath.annotations import FLAGS
from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import PromptError, SampathError
from napari_sampath.session import NewObjects, Session
from napari_sampath.session.proposals.new_objects import LocalMask, NewObject
from support.models.disc_model import disc_model

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = 60
SCRIPTS = 6
"""Number of different scripts."""
ACTIONS = (
    ["commit"] * 6
    + ["paint", "erase", "delete", "reclassify", "class", "undo", "undo", "redo", "head", "propose"]
    + ["split", "merge", "shape", "flag", "verify", "complete", "merge classes", "delete class", "semantic"]
)
CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))


def image() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 255, (96, 128, 3), dtype=np.uint8)


def digest(session: Session) -> str:
    """Return a hash of the saved state without the times at which objects were made."""
    document = session.document
    records = [
        (key, replace(record, created="", modified=record.modified and "some time"))
        for key, record in sorted(document.objects.items())
    ]
    text = repr(records) + repr(document.classes.snapshot)
    maps = (
        np.asarray(document.class_map).tobytes()
        + np.asarray(document.instance_map).tobytes()
        + np.asarray(document.verified_map).tobytes()
    )
    return hashlib.sha256(text.encode() + maps).hexdigest()


def open_session(journal: Path) -> Session:
    return Session(image(), "slide", disc_model(), CLASSES, journal)


def prompt_at(session: Session, x: float, y: float) -> None:
    session.prompts.add_point(x, y)
    request = session.prompts.request()
    if request is None or not session.prompts.accept(session.prompts.answerer.answer(request)):
        raise RuntimeError("the prompt was not answered")


def commit_at(session: Session, x: float, y: float) -> int:
    prompt_at(session, x, y)
    return session.commit().id


def script(session: Session, seed: int, steps: int = STEPS) -> Iterator[None]:
    """Run a random but reproducible mixture of all actions; yields after each step."""
    rng = random.Random(seed)
    for number in range(steps):
        ids = sorted(session.document.objects)
        match rng.choice(ACTIONS):
            case "commit":
                session.prompts.add_point(rng.uniform(0, 128), rng.uniform(0, 96))
                request = session.prompts.request()
                if request is not None:
                    session.prompts.accept(session.prompts.answerer.answer(request))
                session.commit()
            case "paint":
                row, col = rng.randrange(90), rng.randrange(120)
                session.paint([row, row, row + 1], [col, col + 1, col], rng.choice([1, 2]))
            case "erase":
                rows, cols = np.mgrid[: rng.randrange(1, 60), : rng.randrange(1, 60)]
                session.paint(rows, cols, 0)
            case "delete" if ids:
                session.objects.delete((rng.choice(ids),))
            case "reclassify" if ids:
                session.objects.reclassify(
                    (rng.choice(ids),), rng.choice([info.id for info in session.classes])
                )
            case "class":
                session.classes.add(f"class {number}")
            case "undo":
                session.undo()
            case "redo":
                session.redo()
            case "head":
                session.proposals.add(some_pieces(rng)).apply()
            case "propose":
                session.proposals.replace(some_pieces(rng)).apply()
            case other:
                with contextlib.suppress(
                    PromptError
                ):  # a single component cannot be split, a small object cannot be shrunk
                    change(session, other, ids, rng)
        yield


def some_pieces(rng: random.Random) -> NewObjects:
    pieces = tuple(
        NewObject(1, LocalMask(rng.randrange(80), rng.randrange(110), np.ones((5, 7), dtype=bool)), 0.5)
        for _ in range(rng.randrange(20))
    )
    return NewObjects(pieces, CLASSES[:1], "a head")


def change(session: Session, what: str, ids: list[int], rng: random.Random) -> None:
    """Run an action of several operations."""
    extra = [info.id for info in session.classes if info.id > 2]
    match what:
        case "split" if ids:
            session.objects.split_line(rng.choice(ids), (rng.uniform(0, 128), 0), (rng.uniform(0, 128), 96))
        case "merge" if len(ids) > 1:
            session.objects.merge(rng.sample(ids, 2))
        case "shape" if ids:
            one = rng.choice(ids)
            match rng.randrange(4):
                case 0:
                    session.objects.grow(one, 2)
                case 1:
                    session.objects.shrink(one, 1)
                case 2:
                    session.objects.fill_holes(one)
                case 3:
                    session.objects.smooth(one)
        case "flag" if ids:
            session.objects.flag(rng.sample(ids, 1), rng.choice(FLAGS), rng.random() < 0.7)
        case "verify":
            session.area.mark((rng.randrange(90), rng.randrange(120), 95, 127), rng.random() < 0.7)
        case "complete":
            session.area.complete((rng.randrange(50), rng.randrange(60), 90, 120))
        case "merge classes" if extra:
            session.class_tools.merge(rng.choice(extra), 1)
        case "delete class" if extra:
            session.class_tools.delete(rng.choice(extra))
        case "semantic":
            session.mask_mode = "semantic"
            rows, cols = np.mgrid[rng.randrange(80) : 90, rng.randrange(100) : 110]
            session.paint(rows, cols, rng.choice([1, 2]))
            session.mask_mode = "instance"


def run_child(journal: Path, seed: int, pipe: int) -> None:
    session = open_session(journal)
    for _ in script(session, seed):
        os.write(pipe, b".")
    os._exit(0)


def kill_one(journal: Path, seed: int, after_steps: int, delay_s: float) -> int:
    """Run a child, kill it a while after it reported some steps, and return the number of reported steps."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        run_child(journal, seed, writer)
    os.close(writer)
    reported = 0
    while reported < after_steps and (chunk := os.read(reader, after_steps - reported)):
        reported += len(chunk)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while chunk := os.read(reader, 4096):
        reported += len(chunk)
    os.close(reader)
    return reported


def main(folder: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    # Two complete runs: the first imports everything before the fork, the second measures the time of a step.
    step_s = 0.0
    for attempt in range(2):
        session = open_session(folder / f"unharmed {attempt}.jsonl")
        start = time.perf_counter()
        for _ in script(session, attempt):
            pass
        step_s = (time.perf_counter() - start) / STEPS
        session.close()
    for number in range(count):
        journal = folder / f"{number}.jsonl"
        reported = kill_one(journal, number % SCRIPTS, rng.randrange(STEPS), rng.uniform(0, 2 * step_s))
        print(
            json.dumps({"journal": str(journal), "seed": number % SCRIPTS, "reported": reported}), flush=True
        )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except SampathError as error:
        sys.exit(str(error))
