"""The job that segments a whole slide for the Auto-segment dock; it runs in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ConfigError
from ...jobs import Job, Progress
from ..background.native_libraries import import_triton_isolated

if TYPE_CHECKING:
    from ...annotations import Box
    from ...formats.maps.slide_result import Block
    from ...images.slides import Slide
    from ...images.slides.tissue import Tissue
    from ...predict import Model
    from ...predict.whole_slide import SlidePlan, SlideRun


@dataclass(slots=True, eq=False)
class RunState:
    """State that the thread of a run and the window share; each attribute is written by one of them."""

    centre_rc: tuple[float, float] = (0.0, 0.0)
    """Centre of the view in level-0 pixels, where blocks are computed first; written by the window."""
    outlines: bool = False
    """Whether the model outlines each object; written by the window before the run."""
    plan: SlidePlan | None = None
    """The plan, once the result exists; written by the thread."""
    on_block: Callable[[Box], object] = lambda box: None
    """Called in the thread with the box of a block that was written; set by the window."""


def tissue_job(slide: Slide, path: Path) -> Job[Tissue]:
    """Make a job that reads the saved tissue mask of a slide, or finds its tissue.

    Args:
        slide: The slide.
        path: File of the mask that a person has edited; it need not exist.
    """
    yield Progress(0, 0, "Looking for tissue")
    from ...images.slides.tissue import find_tissue, load_tissue

    return load_tissue(path) or find_tissue(slide)


def whole_slide_job(
    slide: Slide,
    head: str,
    model: Model | None,
    path: Path,
    tissue: Tissue | Path,
    magnification: float,
    state: RunState,
) -> Job[SlideRun]:
    """Make a job that segments a slide and separates its objects; it continues an unfinished result.

    Args:
        slide: The slide.
        head: Name of a shipped head, or path of a bundle.
        model: The current model; if the head needs another model, that model is loaded.
        path: Folder of the result.
        tissue: The mask, or the file of the mask that a person has edited.
        magnification: Size of the structures in the slide compared with those in the head's training images.
        state: Shared with the window.

    Raises:
        PromptError: If the model shall outline objects and answers no prompts.
        ConfigError: If no tissue is marked.
    """
    yield Progress(0, 0, "Loading the head")
    import_triton_isolated()
    from ...heads import load_head
    from ...predict.instances.settings import InstanceSettings
    from ...predict.segmentation import load_head_job
    from ...predict.whole_slide import SlidePlan, plan_job

    loaded = load_head(head)
    usable = model is not None and model.name == loaded.encoder_name
    loaded, model = yield from load_head_job(loaded, model if usable else None)
    if isinstance(tissue, Path):
        tissue = yield from tissue_job(slide, tissue)
    if not tissue.mask.any():
        raise ConfigError(
            "No tissue is marked, so there is nothing to segment; paint in the layer 'Tissue', or remove the layer to "
            "find the tissue again."
        )
    plan = SlidePlan.make(slide, loaded, model, path, tissue, magnification=magnification)
    state.plan = plan

    def nearest(blocks: Sequence[Block]) -> Block:
        centres = (
            np.array([[block.box[0] + block.box[2], block.box[1] + block.box[3]] for block in blocks]) / 2
        )
        distance = np.hypot(*(centres * plan.result.factor - state.centre_rc).T)
        return blocks[int(distance.argmin())]

    return (
        yield from plan_job(
            plan,
            objects=InstanceSettings(outlines=state.outlines),
            choose=nearest,
            on_block=lambda block: state.on_block(block.box),
        )
    )
