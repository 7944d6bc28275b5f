"""Jobs that hand blocks of a slide, or images, to the workers of a dask scheduler and wait for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ..jobs import Job
from . import worker
from .connection import check_workers, connected
from .tasks import mapped

if TYPE_CHECKING:
    from ..predict import Model
    from ..predict.instances.settings import InstanceSettings
    from ..predict.whole_slide import SlidePlan, SlideRun
    from .spec import EncodeSpec, ModelSpec, SlideSpec

T = TypeVar("T")


def cluster_slide_job(
    plan: SlidePlan, spec: SlideSpec, address: str, objects: InstanceSettings | None = None
) -> Job[tuple[SlideRun, tuple[str, ...]]]:
    """Make a job that computes the blocks of a slide on the workers of a scheduler.

    Args:
        plan: The run; its result exists.
        spec: The same run for the workers.
        address: Address of the scheduler, such as "tcp://host:8786".
        objects: How objects are separated, if they are.

    Returns:
        The result, and a sentence for each block that failed; the others are complete.

    Raises:
        ConfigError: If dask.distributed is not installed, or there is no scheduler or worker at the address.
        SampathError: If a worker cannot take part.
    """
    from ..predict.whole_slide import SlideRun, slide_objects_job
    from ..predict.whole_slide.objects_job import missing_units
    from ..predict.whole_slide.outlining import Outliner

    outliner = Outliner.of(plan, objects)
    plan.mark_blank()
    result = plan.result
    missing = {block.name: block for block in plan.wanted if not result.is_done(block)}
    with connected(address) as client:
        workers = check_workers(client, address, partial(worker.plan_of, spec))
        tiles = {name: plan.tiles(block) for name, block in missing.items()}
        compute = partial(worker.compute_block, spec)
        failed = yield from mapped(
            client, workers, compute, tiles, plan.label, "tiles", _block_name, with_next=True
        )
        if objects is not None:
            separate = partial(worker.separate_objects, spec, settings=objects)
            label = "Separating objects"
            for _ in range(2):  # Blocks, then large components
                names = dict.fromkeys(missing_units(result, objects, outliner) if not failed else (), 1)
                failed |= yield from mapped(client, workers, separate, names, label, "blocks", _block_name)
    found = None
    if objects is not None and not failed:
        found = yield from slide_objects_job(result, objects, (), outliner)
    computed = sum(result.is_done(block) for block in missing.values())
    skipped = len(plan.wanted) - len(missing)
    return SlideRun(result.path, len(result.blocks), computed, skipped, plan.notes, found), tuple(
        failed.values()
    )


def cluster_encode_job(
    spec: EncodeSpec, paths: Sequence[str], address: str
) -> Job[tuple[int, dict[str, str]]]:
    """Make a job that encodes images on the workers of a scheduler.

    Args:
        spec: How they are encoded.
        paths: The images; all workers see them and share the folder of the feature store.
        address: Address of the scheduler.

    Returns:
        The number of tiles, and path -> message of each image that failed.

    Raises:
        ConfigError, SampathError: As for `cluster_images_job`.
    """
    encode = partial(worker.encode_image, spec)
    tiles, failed = yield from cluster_images_job(spec.model, encode, paths, address, "Encoding images")
    return sum(tiles), failed


def cluster_images_job(
    model: ModelSpec, function: Callable[[str, Model], T], paths: Sequence[str], address: str, label: str
) -> Job[tuple[list[T], dict[str, str]]]:
    """Make a job that calls a function for each image on the workers of a scheduler.

    Args:
        model: The model of the workers.
        function: Called with a path and the model; like its values, it can be pickled.
        paths: The images; all workers see them.
        address: Address of the scheduler.
        label: Description for the progress.

    Returns:
        The values, in any order, and path -> message of each image that failed.

    Raises:
        ConfigError: If dask.distributed is not installed, or there is no scheduler or worker at the address.
        SampathError: If a worker cannot take part.
    """
    values: list[T] = []
    with connected(address) as client:
        workers = check_workers(client, address, partial(worker.model_of, model))
        work = dict.fromkeys(paths, 1)
        call = partial(worker.call_with_model, model, function)
        failed = yield from mapped(client, workers, call, work, label, "images", str, values.append)
    return values, failed


def _block_name(name: str) -> str:
    row, col, *_ = name.split("_")
    return f"The block in row {row}, column {col}"
