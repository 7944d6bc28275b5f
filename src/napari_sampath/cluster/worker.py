"""Tasks of a worker; it loads one model and keeps it for the next tasks."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..errors import ConfigError, ImageError, SampathError, StorageError
from ..jobs import run

if TYPE_CHECKING:
    from ..predict import Model
    from ..predict.instances.settings import InstanceSettings
    from ..predict.whole_slide import BlockStream, SlidePlan
    from .spec import EncodeSpec, ModelSpec, SlideSpec

logger = logging.getLogger(__name__)

T = TypeVar("T")
_Stamp: TypeAlias = tuple[int, int] | None

_one = threading.RLock()
"""A worker with several threads computes one task at a time, because they share a device."""


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in another thread than that of the worker's messages, which tell that the worker is alive."""
    return await asyncio.to_thread(function, *args)


async def ping() -> None:
    """Answer at once, even if a task is being computed."""


def check(action: Callable[[], object]) -> tuple[str, str]:
    """Check whether this worker can take part.

    Returns:
        The version of the package, and an error message or "".
    """
    from .. import __version__

    try:
        with _one:
            action()
    except Exception as error:  # noqa: BLE001 - libraries and drivers of this machine raise anything
        return __version__, reason(error)
    return __version__, ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that failed; a value and no exception, so that it states its worker, and every client can read it."""

    place: str | None
    """Address of the worker; "" if unknown, None if it was lost."""
    message: str
    """Predicate of a sentence whose subject is the task."""


def attempt(version: str, function: Callable[..., Any], *names: str | None) -> Any:
    """Call a function in a task.

    Args:
        version: Version of the package on the machine of the user; workers that join later have not been checked.
        function: The function.
        names: Its arguments.

    Returns:
        What it returns, or a `Failure`.
    """
    from distributed import get_worker

    from .. import __version__

    try:
        if version != __version__:
            raise ConfigError(
                f"a worker has version {__version__} of napari-sampath and the machine that started the run {version}; "
                "install the same version on all machines."
            )
        return function(*names)
    except Exception as error:
        if not isinstance(error, SampathError):
            logger.exception("A task failed.")
        return Failure(get_worker().address, f"failed: {reason(error)}")


def reason(error: BaseException) -> str:
    """Describe an error for the user of another machine."""
    if isinstance(error, SampathError):
        return str(error)
    return f"{type(error).__name__}: {error}; run the same command again."


def plan_of(spec: SlideSpec) -> SlidePlan:
    """Return the plan of a run, with the model, the slide and the result.

    Raises:
        SampathError: If the worker does not see the slide or the result, or differs in version, weights or precision.
    """
    for path in (spec.slide, spec.result):
        if not Path(path).exists():
            raise ImageError(f"This machine does not see '{path}'; use a folder that all workers mount.")
    record = Path(spec.result) / "zarr.json"
    # The result at the same path states the head, and both it and the weights may be others than last time.
    made_from = (spec, record.read_bytes() if record.exists() else b"", _stamp(spec.model.weights))
    with _one:
        for known, stream in _plans:
            if known == made_from and stream.plan.slide.slide.is_unchanged:
                return stream.plan
        from ..predict.whole_slide import BlockStream, return_freed_arrays

        return_freed_arrays()
        close_plan()
        plan = _make_plan(spec)
        _plans.append((made_from, BlockStream(plan)))
        return plan


_plans: list[tuple[tuple[SlideSpec, bytes, _Stamp], BlockStream]] = []
"""What the last plan was made from, and the computation of its blocks; its slide is open."""


def close_plan() -> None:
    """Close the slide of the last plan."""
    while _plans:
        stream = _plans.pop()[1]
        stream.close()
        stream.plan.slide.slide.close()


def _make_plan(spec: SlideSpec) -> SlidePlan:
    from ..heads import load_head
    from ..images.slides import open_slide
    from ..images.slides.tissue import load_tissue
    from ..predict.whole_slide import SlidePlan

    with ExitStack() as on_error:
        slide = on_error.enter_context(open_slide(spec.slide))
        slide.mpp = spec.mpp or slide.mpp
        tissue = load_tissue(Path(spec.tissue))
        if tissue is None:
            raise StorageError(
                f"This machine cannot read '{spec.tissue}'; use a folder that all workers mount."
            )
        head, model = load_head(spec.head), model_of(spec.model)
        plan = SlidePlan.make(
            slide,
            head,
            model,
            Path(spec.result),
            tissue,
            spec.at_mpp,
            create=False,
            tile_px=spec.tile_px,
        )
        on_error.pop_all()
    return plan


def model_of(spec: ModelSpec) -> Model:
    """Load a model, with the feature store of this machine."""
    return _model(spec, _stamp(spec.weights))


@lru_cache(maxsize=1)
def _model(spec: ModelSpec, stamp: _Stamp) -> Model:
    """Load a model again if the file of its weights has changed."""
    from ..config import load_config
    from ..predict import load_model
    from ..store import Store

    store = Store.from_config(load_config())
    return load_model(spec.name, spec.device, spec.weights, store, spec.precision)


def _stamp(path: str | None) -> _Stamp:
    """Return the time of the last change and the size of a file; None without a file."""
    if path is None or not os.path.exists(path):
        return None
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


def precision_of(spec: ModelSpec) -> str:
    """Return the precision in which this worker runs an encoder."""
    from ..config import resolve_device, resolve_precision

    return resolve_precision(spec.precision, resolve_device(spec.device))


def compute_block(spec: SlideSpec, name: str, following: str | None = None) -> None:
    """Compute a block of a slide and write it into the result, if nobody has.

    Args:
        spec: The run.
        name: Name of the block.
        following: Name of the block that this worker probably gets next. Its first tiles are encoded while the block is
            written.
    """
    with _one:
        plan = plan_of(spec)
        blocks = {block.name: block for block in plan.result.blocks}
        if not plan.result.is_done(blocks[name]):
            _plans[0][1].compute(blocks[name], blocks.get(following or ""))


def separate_objects(spec: SlideSpec, name: str, settings: InstanceSettings) -> None:
    """Separate and outline the objects of a block, or outline those of a large component, and write them."""
    from ..predict.whole_slide.objects_job import unit_objects_job
    from ..predict.whole_slide.outlining import Outliner

    with _one:
        plan = plan_of(spec)
        run(unit_objects_job(plan.result, name, settings, Outliner.of(plan, settings)))


def call_with_model(spec: ModelSpec, function: Callable[[str, Model], T], path: str) -> T:
    """Call a function with an image and the model of this worker."""
    with _one:
        return function(path, model_of(spec))


def encode_image(spec: EncodeSpec, path: str, model: Model) -> int:
    """Encode the tiles of an image into the feature store and return their number."""
    from ..images import read
    from ..predict.head_tiles import tiles_for

    pixels = read(Path(path)).pixels
    frames = tiles_for((pixels.shape[0], pixels.shape[1]), spec.use, spec.tile_px)
    count = sum(1 for _ in model.encode_tiles(pixels, frames))
    if model.store is None or not model.store.keeps:
        raise StorageError(
            "A worker cannot write features to disk, so they are lost; free disk space or set "
            "SAMPATH_CACHE_LIMIT_BYTES above 0 on its machine, and run the same command again."
        )
    return count
