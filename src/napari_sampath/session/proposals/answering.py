"""Objects for the points of a file: the model answers each point as if a person had clicked it."""

from __future__ import annotations

from dataclasses import replace

from ...errors import ImageError
from ...files.messages import plural
from ...formats.objects import LabelledObject, visible_areas
from ...jobs import Job, Progress
from ...tiling import tile_for
from ..prompts.answerer import PromptRequest, decode
from ..prompts.prompt_state import PromptState
from ..prompts.tile_cache import TileFeatures
from .new_objects import NewObject, NewObjects


def answer_points_job(new: NewObjects, hw: tuple[int, int], tiles: TileFeatures) -> Job[NewObjects]:
    """Make a job that replaces the points of a file by objects, which are proposals until somebody reviews them.

    Where objects of two points overlap, the smaller one is on top, as at import. They lie on top of the objects of the
    file, which may be regions around the points.

    Args:
        new: The content of the file.
        hw: Size (H, W) of the image.
        tiles: The encoded tiles of the image.

    Raises:
        PromptError: If the model does not support prompts.
        ImageError: If there are no objects in the end.
    """
    prompts = [(tile_for(hw, [point.xy]), point) for point in new.points]
    prompts.sort(key=lambda pair: (pair[0].top, pair[0].left))  # Each tile is encoded once.
    answers: list[NewObject] = []
    for number, (frame, point) in enumerate(prompts):
        yield Progress(number, len(prompts), "Outlining the objects at the points", "points")
        state = PromptState(points=((*point.xy, True),), frame=frame)
        candidates = decode(PromptRequest(0, state, tiles)).candidates
        best = next((candidate for candidate in candidates if candidate.box is not None), None)
        if best is not None:
            prompt = {"points": [[*point.xy, True]]}
            details = {"source": "head", "model": tiles.model.name, "prompts": prompt}
            answers.append(NewObject(point.class_id, best.mask, float(best.score), details))
    answers.sort(key=lambda answer: -answer.mask.area_px)
    areas = visible_areas([LabelledObject(0, answer.class_id, answer.mask) for answer in answers])
    visible = tuple(answer for answer, area in zip(answers, areas, strict=True) if area)
    if not visible and not new.objects:
        raise ImageError(
            f"The model '{tiles.model.name}' found no object at {plural(len(prompts), 'point')}; choose another model."
        )
    without, covered = len(prompts) - len(answers), len(answers) - len(visible)
    reasons = ((without, "without an outline"), (covered, "in the object of another point"))
    left_out = ", ".join(f"{count:,} {reason}" for count, reason in reasons if count)
    made = f"{len(visible):,} of {plural(len(prompts), 'point')} became objects"
    note = f"{made}, outlined by {tiles.model.name}; review them"
    note += f" ({left_out})." if left_out else "."
    return replace(new, objects=(*new.objects, *visible), points=(), notes=(*new.notes, note))
