"""Tasks of a worker; it loads one model and keeps it for the next tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImageError, SampathError, StorageError
from ..jobs import run

if TYPE_CHECKING:
    from ..predict import Model
    from ..predict.instances.settings import InstanceSettings
    from ..predict.whole_slide import SlidePlan
    from .spec import EncodeSpec, ModelSpec, SlideSpec

_one = threading.RLock()
"""A worker with several threads computes one task at a time, because they share a device."""


def check(action: Callable[[], object]) -> tuple[str, str]:
    """Check whether this worker can take part.

    Returns:
        The version of the package, and an error message or "".
    """
    from .. import __version__

    try:
        with _one:
            action()
    except SampathError as error:
        return __version__, str(error)
    return __version__, ""


@lru_cache(maxsize=1)
def plan_of(spec: SlideSpec) -> SlidePlan:
    """Return the plan of a run, with the model, the slide and the result.

    Raises:
        SampathError: If the worker does not see the slide or the result, or differs in version, weights or precision.
    """
    from ..heads import load_head
    from ..images.slides import open_slide
    from ..images.slides.tissue import load_tissue
    from ..predict.whole_slide import SlidePlan

    for path in (spec.slide, spec.result):
        if not Path(path).exists():
            raise ImageError(f"This machine does not see '{path}'; use a folder that all workers mount.")
    slide = open_slide(spec.slide)
    slide.mpp = spec.mpp or slide.mpp
    tissue = load_tissue(Path(spec.tissue))
    if tissue is None:
        raise StorageError(f"This machine cannot read '{spec.tissue}'; use a folder that all workers mount.")
    head, model = load_head(spec.head), model_of(spec.model)
    return SlidePlan.make(slide, head, model, Path(spec.result), tissue, spec.at_mpp, create=False)


@lru_cache(maxsize=1)
def model_of(spec: ModelSpec) -> Model:
    """Load a model, with the feature store of this machine."""
    from ..config import load_config
    from ..predict import load_model
    from ..store import Store

    store = Store.from_config(load_config())
    return load_model(spec.name, spec.device, spec.weights, store, spec.precision)


def precision_of(spec: ModelSpec) -> str:
    """Return the precision in which this worker runs an encoder."""
    from ..config import resolve_device, resolve_precision

    return resolve_precision(spec.precision, resolve_device(spec.device))


def compute_block(spec: SlideSpec, name: str) -> None:
    """Compute a block of a slide and write it into the result, if nobody has."""
    with _one:
        plan = plan_of(spec)
        block = next(block for block in plan.result.blocks if block.name == name)
        if not plan.result.is_done(block):
            run(plan.block_job(block))


def separate_objects(spec: SlideSpec, name: str, settings: InstanceSettings) -> None:
    """Separate the objects of a block and write them into the result."""
    from ..predict.whole_slide.objects_job import block_objects_job

    with _one:
        result = plan_of(spec).result
        block = next(block for block in result.blocks if block.name == name)
        run(block_objects_job(result, block, settings))


def encode_image(spec: EncodeSpec, path: str) -> int:
    """Encode the tiles of an image into the feature store and return their number."""
    from ..images import read
    from ..predict.head_tiles import tiles_for

    with _one:
        model = model_of(spec.model)
        pixels = read(Path(path)).pixels
        frames = tiles_for((pixels.shape[0], pixels.shape[1]), spec.use, spec.tile_px)
        return sum(1 for _ in model.encode_tiles(pixels, frames))
