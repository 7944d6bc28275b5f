"""`sampath segment` for whole-slide images: a resumable result, block by block."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ConfigError, ImageError, SampathError
from ...files.messages import plural
from ..fields import from_args
from ..output import Output
from ..sharing import ALL, add_sharing, model_spec, part_of
from ..subcommand import load, open_image

if TYPE_CHECKING:
    from ...heads import LoadedHead
    from ...images import LoadedImage
    from ...images.slides import Slide
    from ...images.slides.tissue import Tissue
    from ...predict.instances.settings import InstanceSettings
    from ...predict.whole_slide import SlideRun


SUFFIX = ".ome.zarr"
"""End of the name of a result for a whole slide."""
_FLAGS = {"part": ALL, "scheduler": None, "tissue": "auto", "at_mpp": None, "mpp": None}
"""Flags that only results for slides have, and their defaults."""


def add_slide_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that only slides need."""
    group = parser.add_argument_group(f"slides, if the name of the output ends in {SUFFIX}")
    add_sharing(group, "block")
    group.add_argument(
        "--tissue",
        default=_FLAGS["tissue"],
        metavar="FILE",
        help="where to segment: 'auto' (found by saturation), 'all', or a mask image of any size that covers the slide",
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


def reject_slide_flags(args: argparse.Namespace) -> None:
    """Raise a `ConfigError` if a flag for slides is given for an ordinary image."""
    given = [name for name, default in _FLAGS.items() if getattr(args, name) != default]
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
    from ...images.slides import is_slide

    try:
        return open_image(path, output)
    except ImageError as error:
        if is_slide(path):
            raise ImageError(
                f"'{path}' is a slide that is not read into memory; give an output that ends in {SUFFIX} to segment it "
                "block by block."
            ) from error
        raise


def is_folder_of_images(path: Path) -> bool:
    """Return True if a path is a folder that is not a slide."""
    from ...images.slides import is_slide

    return path.is_dir() and not is_slide(path)


@dataclass(frozen=True, slots=True)
class _Collected(Output):
    """Keeps the results of the images of a folder, which are written together."""

    results: list[Mapping[str, object]] = field(default_factory=list)

    def result(self, values: Mapping[str, object], text: str) -> None:
        """Keep the values of a result."""
        self.results.append(values)


def run_folder(
    args: argparse.Namespace, output: Output, run: Callable[[argparse.Namespace, Output], int]
) -> int:
    """Segment the images and slides of a folder, one after the other; returns the exit code.

    Args:
        args: The arguments; with `--part`, several processes share the images.
        output: The output.
        run: Segments one of them.
    """
    from ...images import list_images
    from ...images.slides import is_slide

    if args.output.suffix.lower() in (".png", ".tif", ".tiff", ".zarr") or args.confidence is not None:
        raise ConfigError(
            f"'{args.image}' is a folder, so give a folder as the output, and leave out --confidence."
        )
    listing = list_images(args.image, slides=True)
    output.note(listing.note)
    number, count = part_of(args.part)
    args.output.mkdir(parents=True, exist_ok=True)
    stems = Counter(path.stem for path in listing.paths)
    results, failed = dict[str, Mapping[str, object]](), dict[str, str]()
    for path in listing.paths[number - 1 :: count]:
        name = path.stem if stems[path.stem] == 1 else path.name
        own = {"image": path, "part": ALL, "output": args.output / f"{name}{SUFFIX}"}
        if not is_slide(path):
            own |= _FLAGS | {"output": args.output / f"{name}.tif"}
        collected = _Collected(output.as_json, output.quiet)
        try:
            code = run(argparse.Namespace(**vars(args) | own), collected)
        except SampathError as error:
            failed[path.name] = str(error)
            output.note(f"{path.name}: {error}")
            continue
        results[path.name] = collected.results[-1]
        if code:
            failed[path.name] = "Some blocks failed."
    lines = [f"Segmented {plural(len(results), 'image')} into {args.output}."]
    output.result({"images": results, "failed": failed}, "\n".join(lines))
    return 1 if failed else 0


def run_slide(args: argparse.Namespace, output: Output) -> int:
    """Segment a slide into an OME-Zarr folder, or continue an unfinished result; returns the exit code."""
    from ...heads import load_head
    from ...images.slides import open_slide
    from ...predict.whole_slide import return_freed_arrays, slide_run_job

    if args.confidence is not None:
        raise ConfigError(
            "--confidence cannot be used for slides; the result of a slide holds classes and confidence."
        )
    if args.agreement is not None:
        raise ConfigError(
            "--agreement cannot be used for slides, whose objects have the outlines of the head; remove it."
        )
    return_freed_arrays()
    objects = instance_settings(args)
    head = load_head(args.head)
    with open_slide(args.image) as slide:
        slide.mpp = args.mpp or slide.mpp
        if slide.note:
            output.note(slide.note)
        tissue = read_tissue(args.tissue, slide)
        if tissue.note:
            output.note(f"'{slide.name}': {tissue.note}.")
        args.model = args.model or head.encoder_name
        failed: tuple[str, ...] = ()
        if args.scheduler is None:
            model = load(args, output)
            part = part_of(args.part)
            job = slide_run_job(slide, head, model, args.output, tissue, args.at_mpp, part, objects)
            done = output.run(job)
        else:
            done, failed = _run_on_workers(args, output, slide, head, tissue, objects)
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
            "model": args.model,
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
    head: LoadedHead,
    tissue: Tissue,
    objects: InstanceSettings | None,
) -> tuple[SlideRun, tuple[str, ...]]:
    """Segment a slide on the workers of a scheduler; returns the result and a sentence for each block that failed."""
    from ...cluster import SlideSpec, cluster_slide_job, common_precision
    from ...images.slides.tissue import save_tissue
    from ...predict.whole_slide import SlidePlan

    if args.part != ALL:
        raise ConfigError("--part and --scheduler both share the work; give one of them.")
    # The result states the precision of the workers, which may have other devices than this machine.
    args.precision = common_precision(args.scheduler, model_spec(args))
    plan = SlidePlan.make(slide, head, load(args, output), args.output.absolute(), tissue, args.at_mpp)
    mask = plan.result.path / "tissue.npz"
    save_tissue(mask, tissue)
    bundle = Path(args.head).expanduser()
    spec = SlideSpec(
        str(args.image.absolute()),
        str(bundle.absolute()) if bundle.is_file() else args.head,
        model_spec(args),
        str(plan.result.path),
        str(mask),
        args.mpp,
        args.at_mpp,
    )
    return output.run(cluster_slide_job(plan, spec, args.scheduler, objects))


def _found(wanted: bool, objects: int | None) -> str:
    if not wanted:
        return ""
    if objects is None:
        return "; the objects are numbered when all parts are complete"
    return f", {plural(objects, 'object')}"


def instance_settings(args: argparse.Namespace) -> InstanceSettings | None:
    """Return the settings of `--objects`; None for a class map.

    Raises:
        ConfigError: If a setting of `--objects` is given without this flag.
    """
    from ...predict.instances.settings import InstanceSettings

    given = [field.name for field in fields(InstanceSettings) if getattr(args, field.name) is not None]
    if given and not args.objects:
        flag = "--" + given[0].replace("_", "-")
        raise ConfigError(f"{flag} is a setting of --objects; add --objects or remove {flag}.")
    return from_args(InstanceSettings, args) if args.objects else None


def read_tissue(choice: str, slide: Slide) -> Tissue:
    """Return the mask of the regions of a slide to segment.

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
    if choice == "all":
        return Tissue(np.ones((1, 1), bool), max(slide.hw))
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


def _um(text: str) -> float:
    """Parse a length above 0; the name of the function is part of argparse's message."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


_um.__name__ = "length in micrometres"
