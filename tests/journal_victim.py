"""A scripted session that is killed. Run: python journal_victim.py FOLDER COUNT SEED

Forks COUNT children, one after the other; each runs `script` on a journal of its own and writes a byte into a
pipe after every step that returned, until it is killed with SIGKILL: some time after a random step. Prints one
JSON line a child: the journal, and how many steps it had reported.
"""

from __future__ import annotations

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

from disc_model import disc_model
from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import SampathError
from napari_sampath.session import Components, Session
from napari_sampath.session.components import Component, LocalMask

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = 60
SCRIPTS = 6
"""Different scripts; deaths take turns."""
OTHERS = ["paint", "erase", "delete", "reclassify", "class", "undo", "undo", "redo", "head"]
ACTIONS = ["commit"] * 6 + OTHERS
CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))


def image() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 255, (96, 128, 3), dtype=np.uint8)


def digest(session: Session) -> str:
    """Everything that is kept, as one word; the time an annotation was made is the only thing left out."""
    document = session.document
    records = sorted(document.annotations.items())
    text = repr([(key, replace(record, created="")) for key, record in records]) + repr(
        document.classes.snapshot
    )
    maps = document.class_map.tobytes() + document.instance_map.tobytes()
    return hashlib.sha256(text.encode() + maps).hexdigest()


def open_session(journal: Path) -> Session:
    return Session(image(), "slide", disc_model(), CLASSES, journal)


def prompt_at(session: Session, x: float, y: float) -> None:
    session.add_point(x, y)
    request = session.request()
    if request is None or not session.accept(session.answer(request)):
        raise RuntimeError("the prompt was not answered")


def commit_at(session: Session, x: float, y: float) -> int:
    prompt_at(session, x, y)
    return session.commit().id


def script(session: Session, seed: int, steps: int = STEPS) -> Iterator[None]:
    """Do a random but repeatable mixture of everything; yields after each step."""
    rng = random.Random(seed)
    for number in range(steps):
        ids = sorted(session.document.annotations)
        match rng.choice(
            ["commit"] * 6
            + ["paint", "erase", "delete", "reclassify", "class", "undo", "undo", "redo", "head"]
        ):
            case "commit":
                session.add_point(rng.uniform(0, 128), rng.uniform(0, 96))
                request = session.request()
                if request is not None:
                    session.accept(session.answer(request))
                session.commit()
            case "paint":
                row, col = rng.randrange(90), rng.randrange(120)
                session.paint([row, row, row + 1], [col, col + 1, col], rng.choice([1, 2]))
            case "erase":
                rows, cols = np.mgrid[: rng.randrange(1, 60), : rng.randrange(1, 60)]
                session.paint(rows, cols, 0)
            case "delete" if ids:
                session.delete(rng.choice(ids))
            case "reclassify" if ids:
                session.reclassify(rng.choice(ids), rng.choice([1, 2]))
            case "class":
                session.classes.add(f"class {number}")
            case "undo":
                session.undo()
            case "redo":
                session.redo()
            case "head":
                pieces = tuple(
                    Component(
                        1, LocalMask(rng.randrange(80), rng.randrange(110), np.ones((5, 7), dtype=bool)), 0.5
                    )
                    for _ in range(rng.randrange(20))
                )
                session.add_segmentation(Components(pieces, CLASSES[:1], "a head"))
        yield


def run_child(journal: Path, seed: int, pipe: int) -> None:
    session = open_session(journal)
    for _ in script(session, seed):
        os.write(pipe, b".")
    os._exit(0)


def kill_one(journal: Path, seed: int, after_steps: int, delay_s: float) -> int:
    """Run a child, kill it a while after it has reported some steps, and return how many it had reported."""
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
    # Twice without being killed: first so that everything is imported before the fork, then for how long a step takes.
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
