"""`sampath segment` for whole-slide images: a resumable result, block by block."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ....errors import ConfigError, ImageError
from ....files.messages import plural
from ...output import Output
from ...sharing import ALL, add_sharing, model_spec, part_of, paths_on_workers
from ...subcommand import open_image
from .loading import HeadAndModel, instance_settings

if TYPE_CHECKING:
    from ....images import LoadedImage
    from ....images.slides import Slide
    from ....images.slides.tissue import Tissue
    from ....predict.instances.settings import InstanceSettings
    from ....predict.whole_slide import SlideRun


SUFFIX = ".ome.zarr"
"""End of the name of a result for a whole slide."""
SLIDE_FLAGS = {"part": ALL, "scheduler": None, "tissue": "auto", "at_mpp": None, "mpp": None}
"""Flags that only results for slides have, and their defaults."""


def add_slide_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that only slides need."""
    group = parser.add_argument_group(f"slides, if the name of the output ends in {SUFFIX}")
    add_sharing(group, "block")
    group.add_argument(
        "--tissue",
        default=SLIDE_FLAGS["tissue"],
        metavar="FILE",
        help="where to segment: 'auto' (found by saturation), 'all', a mask image of any size that covers the slide, "
        "or the .npz file of a mask that was painted in the window",
    )
    group.add_argument(
        "--at-mpp",
        type=_um,
        metavar="UM",
        help="micrometres per pixel at which the head runs (default: that of its training images, if known)",
    )
    group.add_argument(
        "--mpp", type=_um, metavar="UM", help="micrometres per pixel of the slide, if its file is wrong"
    )


def is_slide_output(path: Path) -> bool:
    """Return True if the output of the command is the result for a slide."""
    return path.name.endswith(SUFFIX)


def check_region(args: argparse.Namespace) -> None:
    """Raise a `ConfigError` if `--region` is given with an output that it does not work for."""
    if args.region is not None and (args.objects or is_slide_output(args.output)):
        raise ConfigError(
            "--region works for class maps only; leave out --objects and write a .png or .tif file."
        )


def reject_slide_flags(args: argparse.Namespace) -> None:
    """Raise a `ConfigError` if a flag for slides is given for an ordinary image."""
    given = [name for name, default in SLIDE_FLAGS.items() if getattr(args, name) != default]
    if given:
        flag = "--" + given[0].replace("_", "-")
        raise ConfigError(
            f"{flag} is a flag for slides, but the output is '{args.output}'; give an output that ends in {SUFFIX}, or "
            f"remove {flag}."
        )


def open_small_image(path: Path, output: Output) -> LoadedImage:
    """Read an image into memory.

    Raises:
        ImageError: If it cannot be read; for a slide, the message explains how to segment it.
    """
    from ....images.slides import is_slide

    try:
        return open_image(path, output)
    except ImageError as error:
        if is_slide(path):
            raise ImageError(
                f"'{path}' is a slide that is not read into memory; give an output that ends in {SUFFIX} to segment it "
                "block by block."
            ) from error
        raise


def run_slide(args: argparse.Namespace, output: Output, loaded: HeadAndModel) -> int:
    """Segment a slide into an OME-Zarr folder, or continue an unfinished result; returns the exit code."""
    from ....images.slides import open_slide
    from ....predict.whole_slide import return_freed_arrays, slide_run_job

    check_region(args)
    if args.confidence is not None:
        raise ConfigError(
            "--confidence cannot be used for slides; the result of a slide holds classes and confidence."
        )
    return_freed_arrays()
    objects = instance_settings(args, outlines=False)
    head = loaded.head
    with open_slide(args.image) as slide:
        slide.mpp = args.mpp or slide.mpp
        if slide.note:
            output.note(slide.note)
        tissue = read_tissue(args.tissue, slide)
        if tissue.note:
            output.note(f"'{slide.name}': {tissue.note}.")
        failed: tuple[str, ...] = ()
        if args.scheduler is None:
            part = part_of(args.part)
            job = slide_run_job(
                slide, head, loaded.model, args.output, tissue, args.at_mpp, part, objects, args.tile_px
            )
            done = output.run(job)
        else:
            done, failed = _run_on_workers(args, output, slide, loaded, tissue, objects)
    for note in done.notes:
        output.note(note)
    output.result(
        {
            "result": str(done.path),
            "blocks": done.blocks,
            "computed": done.computed,
            "skipped": done.skipped,
            **({} if objects is None else {"objects": done.objects}),
            "head": head.name,
            "model": loaded.model.name,
            **({"failed": failed} if failed else {}),
        },
        f"{done.path}: computed {plural(done.computed, 'block')}, {done.skipped} were complete before"
        f"{_found(objects is not None, done.objects)}",
    )
    for message in failed:
        output.note(message)
    return 1 if failed else 0


def _run_on_workers(
    args: argparse.Namespace,
    output: Output,
    slide: Slide,
    loaded: HeadAndModel,
    tissue: Tissue,
    objects: InstanceSettings | None,
) -> tuple[SlideRun, tuple[str, ...]]:
    """Segment a slide on the workers of a scheduler; returns the result and a sentence for each block that failed."""
    from ....cluster import SlideSpec, cluster_slide_job, common_precision
    from ....images.slides.tissue import save_tissue
    from ....predict.whole_slide import SlidePlan

    if args.part != ALL:
        raise ConfigError("--part and --scheduler both share the work; give one of them.")
    args.model = loaded.args.model = args.model or loaded.head.encoder_name
    # The result states the precision of the workers, which may have other devices than this machine.
    args.precision = loaded.args.precision = common_precision(args.scheduler, model_spec(args))
    plan = SlidePlan.make(
        slide,
        loaded.head,
        loaded.model,
        args.output.absolute(),
        tissue,
        args.at_mpp,
        tile_px=args.tile_px,
    )
    mask = plan.result.path / "tissue.npz"
    save_tissue(mask, tissue)
    shared = paths_on_workers(args)
    spec = SlideSpec(
        str(shared.image),
        shared.head,
        model_spec(args),
        str(plan.result.path),
        str(mask),
        args.mpp,
        args.at_mpp,
        args.tile_px,
    )
    return output.run(cluster_slide_job(plan, spec, args.scheduler, objects))


def _found(wanted: bool, objects: int | None) -> str:
    if not wanted:
        return ""
    if objects is None:
        return "; the objects are numbered when all parts are complete"
    return f", {plural(objects, 'object')}"


def read_tissue(choice: str, slide: Slide) -> Tissue:
    """Return the mask of the regions of a slide to segment.

    Args:
        choice: "auto", "all", or the path of a mask: an image whose nonzero pixels are tissue, or a file of
            `save_tissue`.
        slide: The slide.

    Raises:
        ImageError: If the mask cannot be read, has another shape than the slide, or is empty.
    """
    from ....images.slides.tissue import Tissue, find_tissue, load_tissue
    from ....rasters import read_labels

    if choice == "auto":
        return find_tissue(slide)
    if choice == "all":
        return Tissue(np.ones((1, 1), bool), max(slide.hw))
    saved = load_tissue(Path(choice)) if choice.endswith(".npz") else None
    if saved is None and choice.endswith(".npz"):
        raise ImageError(
            f"The tissue mask '{choice}' is missing or damaged; give another one, 'auto' or 'all'."
        )
    values = np.asarray(read_labels(Path(choice)).values) if saved is None else saved.mask
    steps = slide.hw[0] / values.shape[0], slide.hw[1] / values.shape[1]
    fits = saved is not None and all(
        abs(side / saved.step - length) <= 1 for side, length in zip(slide.hw, values.shape, strict=True)
    )
    if not fits and abs(steps[0] / steps[1] - 1) > 0.02:
        raise ImageError(
            f"The tissue mask '{choice}' is {values.shape[1]} x {values.shape[0]} px, but the slide is "
            f"{slide.hw[1]} x {slide.hw[0]} px (width x height); give a mask of the same proportions."
        )
    if not values.any():
        raise ImageError(
            f"The tissue mask '{choice}' is empty; mark where to segment, or give 'auto' or 'all'."
        )
    if saved is not None and fits:
        return saved
    step = min(steps)
    # The mask gets square pixels; its sides may have been rounded, and it covers the slide all the same.
    rows, cols = (
        np.minimum((np.arange(math.ceil(side / step)) + 0.5) * step / own, length - 1).astype(int)
        for side, own, length in zip(slide.hw, steps, values.shape, strict=True)
    )
    return Tissue((values > 0)[np.ix_(rows, cols)], step)


def _um(text: str) -> float:
    """Parse a length above 0; the name of the function is part of argparse's message."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


_um.__name__ = "length in micrometres"
