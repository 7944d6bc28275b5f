"""`sampath segment` for whole-slide images: a resumable result, block by block."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ConfigError, ImageError
from ..output import Output, count
from ..subcommand import load

if TYPE_CHECKING:
    from ...images.slides import Slide
    from ...images.slides.tissue import Tissue


def add_slide_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that only slides need."""
    group = parser.add_argument_group("slides")
    group.add_argument(
        "--part",
        default="1/1",
        metavar="I/N",
        help="compute every N-th block, from the I-th on: N processes, or the tasks of an array job, share the work",
    )
    group.add_argument(
        "--tissue",
        default="auto",
        metavar="FILE",
        help="where to segment: 'auto' (found by saturation), 'all', or a mask image of any size that covers the slide",
    )
    group.add_argument(
        "--at-mpp",
        type=float,
        metavar="UM",
        help="micrometres per pixel at which the head runs (default: that of its training images, if known)",
    )
    group.add_argument(
        "--mpp", type=float, metavar="UM", help="micrometres per pixel of the slide, if its file is wrong"
    )


def run_slide(args: argparse.Namespace, output: Output) -> None:
    """Segment a slide into an OME-Zarr folder, or continue to do so."""
    from ...heads import load_head
    from ...images.slides import open_slide
    from ...predict.whole_slide import slide_run_job

    if args.objects or args.confidence is not None:
        flag = "--objects" if args.objects else "--confidence"
        raise ConfigError(
            f"{flag} cannot be used for slides; the result of a slide holds classes and confidence."
        )
    if not args.output.name.endswith(".ome.zarr"):
        raise ConfigError(
            f"The output of a slide is a folder whose name ends in .ome.zarr; '{args.output}' does not."
        )
    head = load_head(args.head)
    with open_slide(args.image) as slide:
        slide.mpp = args.mpp or slide.mpp
        for remark in slide.remarks:
            output.note(f"'{slide.name}': {remark}.")
        tissue = read_tissue(args.tissue, slide)
        if tissue.note:
            output.note(f"'{slide.name}': {tissue.note}.")
        args.model = args.model or head.encoder_name
        model = load(args, output)
        job = slide_run_job(slide, head, model, args.output, tissue, args.at_mpp, _part(args.part))
        done = output.run(job)
    for note in done.notes:
        output.note(note)
    output.result(
        {
            "result": str(done.path),
            "blocks": done.blocks,
            "computed": done.computed,
            "skipped": done.skipped,
            "head": head.name,
            "model": model.name,
        },
        f"{done.path}: computed {count(done.computed, 'block')}, {done.skipped} were complete before",
    )


def read_tissue(choice: str, slide: Slide) -> Tissue:
    """Return where a slide is segmented.

    Args:
        choice: "auto", "all", or the path of a mask image whose nonzero pixels are tissue.
        slide: The slide.

    Raises:
        ImageError: If the mask cannot be read, has another shape than the slide, or is empty.
    """
    from ...images.slides.tissue import Tissue, find_tissue
    from ...rasters import read_labels

    if choice == "auto":
        return find_tissue(slide)
    step = max(slide.hw) / 1024
    if choice == "all":
        return Tissue(
            np.ones(tuple(-(-length // max(1, int(step))) for length in slide.hw), bool), max(1, int(step))
        )
    values = np.asarray(read_labels(Path(choice)).values)
    steps = slide.hw[0] / values.shape[0], slide.hw[1] / values.shape[1]
    if abs(steps[0] / steps[1] - 1) > 0.02:
        raise ImageError(
            f"The tissue mask '{choice}' is {values.shape[1]} x {values.shape[0]} px, but the slide is "
            f"{slide.hw[1]} x {slide.hw[0]} px (width x height); give a mask of the same proportions."
        )
    if not values.any():
        raise ImageError(
            f"The tissue mask '{choice}' is empty; mark where to segment, or give 'auto' or 'all'."
        )
    return Tissue(values > 0, min(steps))


def _part(text: str) -> tuple[int, int]:
    number, slash, total = text.partition("/")
    if not (slash and number.isdecimal() and total.isdecimal()):
        raise ConfigError(f"--part is '{text}'; give a number and a count, such as 3/8.")
    return int(number), int(total)
