"""The run of *Find similar* as a `sampath` command and as Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...annotations import Box
from ..common.script_view import Script, command_line
from ..viewer.jobs import ModelChoice

NOTE = (
    "The command outlines the given objects from their boxes and searches the whole image; the Python program uses "
    "the objects and the region as they are."
)


def similar_script(
    file: Path,
    journal: Path,
    objects: Sequence[tuple[int, Box]],
    region: Box | None,
    min_similarity: float,
    choice: ModelChoice,
) -> Script:
    """Describe a search.

    Args:
        file: The image.
        journal: The journal with its annotations.
        objects: Id and box (r0, c0, r1, c1) in pixels of each exemplar.
        region: The searched part (r0, c0, r1, c1) in pixels; None for the whole image.
        min_similarity: Minimum similarity 0..1.
        choice: The model.
    """
    places: list[object] = []
    for _, (r0, c0, r1, c1) in objects:
        places += ["--object", f"{c0},{r0},{c1 - 1},{r1 - 1}"]
    flags = {
        "--min-similarity": min_similarity,
        "--model": choice.name,
        "--weights": choice.weights,
        "--output": f"{file.stem}_similar.png",
    }
    weights = "" if choice.weights is None else f", weights={str(choice.weights)!r}"
    within = "" if region is None else f"within={tuple(region)}, "
    python = f"""from pathlib import Path

import napari_sampath as ns
from napari_sampath.images import read
from napari_sampath.predict.similar.settings import SimilarSettings
from napari_sampath.session.project.journals import read_document

image = read({str(file)!r}).pixels
document = read_document(Path({str(journal)!r}))
exemplars = [document.pixels(number) for number in {[number for number, _ in objects]}]
model = ns.load_model({choice.name!r}{weights})
settings = SimilarSettings(min_similarity={min_similarity!r})
objects = ns.find_similar(image, exemplars, model, {within}settings=settings)
"""
    return Script(command_line("similar", (file, *places), flags), python, NOTE)
