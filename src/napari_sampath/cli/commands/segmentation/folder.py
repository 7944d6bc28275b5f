"""`sampath segment` for a folder of images and slides, on this machine or on the workers of a scheduler."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import ConfigError, SampathError
from ....files.messages import plural
from ...output import Output
from ...sharing import ALL, model_spec, part_of, paths_on_workers
from .image import run_image
from .loading import HeadAndModel, instance_settings
from .slide import SLIDE_FLAGS, SUFFIX, run_slide

if TYPE_CHECKING:
    from ....predict import Model


def is_folder_of_images(path: Path) -> bool:
    """Return True if a path is a folder that is not a slide."""
    from ....images.slides import is_slide

    return path.is_dir() and not is_slide(path)


@dataclass(frozen=True, slots=True)
class _Collected(Output):
    """Keeps the results of the images of a folder, which are written together."""

    results: list[Mapping[str, object]] = field(default_factory=list)

    def result(self, values: Mapping[str, object], text: str) -> None:
        """Append the values of one image; the text is not printed."""
        self.results.append(values)


@dataclass(frozen=True, slots=True)
class _OnWorker(_Collected):
    """Keeps the results and the notes of an image that a worker segments."""

    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str | None) -> None:
        """Keep a note."""
        if sentence:
            self.notes.append(sentence)


def run_folder(args: argparse.Namespace, output: Output) -> int:
    """Segment the images and slides of a folder; returns the exit code.

    With `--part`, several processes share the images. With `--scheduler`, the workers share the images, and then the
    blocks of each slide.

    Args:
        args: The arguments.
        output: The output.
    """
    from ....images import list_images
    from ....images.slides import is_slide

    if args.output.suffix.lower() in (".png", ".tif", ".tiff", ".zarr") or args.confidence is not None:
        raise ConfigError(
            f"'{args.image}' is a folder, so give a folder as the output, and leave out --confidence."
        )
    number, count = part_of(args.part)
    if args.scheduler is not None and args.part != ALL:
        raise ConfigError("--part and --scheduler both share the work; give one of them.")
    instance_settings(args)  # Wrong flags are reported once, as are a missing head or model.
    loaded = HeadAndModel(args, output)
    loaded.load(model=args.scheduler is None)
    listing = list_images(args.image, slides=True)
    output.note(listing.note)
    args.output.mkdir(parents=True, exist_ok=True)
    stems = Counter(path.stem for path in listing.paths)
    repeated = {stem for stem, times in stems.items() if times > 1}
    paths = listing.paths[number - 1 :: count]
    slides = {path for path in paths if is_slide(path)}
    results, failed = dict[str, Mapping[str, object]](), dict[str, str]()
    if args.scheduler is not None:
        images = [path for path in paths if path not in slides]
        results, failed = _run_on_workers(args, output, loaded, images, repeated)
        paths = tuple(path for path in paths if path in slides)
    for path in paths:
        run, end = (run_slide, SUFFIX) if path in slides else (run_image, ".tif")
        collected = _Collected(output.as_json, output.quiet)
        try:
            code = run(_args_of(args, path, repeated, end), collected, loaded)
        except SampathError as error:
            failed[path.name] = str(error)
            output.note(f"{path.name}: {error}")
            continue
        results[path.name] = collected.results[-1]
        if code:
            failed[path.name] = "Some blocks failed."
    output.result(
        {"images": results, "failed": failed},
        f"Segmented {plural(len(results), 'image')} into {args.output}.",
    )
    return 1 if failed else 0


def _args_of(args: argparse.Namespace, path: Path, repeated: Collection[str], end: str) -> argparse.Namespace:
    """Return the arguments for an image of the folder.

    Args:
        args: The arguments for the folder.
        path: The image.
        repeated: Stems that several images of the folder have.
        end: End of the name of its result.
    """
    name = path.name if path.stem in repeated else path.stem
    own: dict[str, Any] = {"image": path, "part": ALL, "output": args.output / f"{name}{end}"}
    if end != SUFFIX:
        own |= SLIDE_FLAGS
    return argparse.Namespace(**vars(args) | own)


def _run_on_workers(
    args: argparse.Namespace,
    output: Output,
    loaded: HeadAndModel,
    images: list[Path],
    repeated: Collection[str],
) -> tuple[dict[str, Mapping[str, object]], dict[str, str]]:
    """Segment images on the workers of a scheduler.

    Returns:
        Name -> result of each image, and name -> message of each that failed.
    """
    from ....cluster import cluster_images_job, common_precision

    if not images:
        return {}, {}
    args.model = args.model or loaded.head.encoder_name
    args.precision = common_precision(args.scheduler, model_spec(args))
    shared = paths_on_workers(args)
    segment = partial(segment_on_worker, shared, repeated)
    paths = [str(path.absolute()) for path in images]
    job = cluster_images_job(model_spec(args), segment, paths, args.scheduler, "Segmenting images")
    answers, failed = output.run(job)
    for name, _, notes in answers:
        for note in notes:
            output.note(f"{name}: {note}")
    for message in failed.values():
        output.note(message)
    return {name: values for name, values, _ in answers}, {
        Path(path).name: message for path, message in failed.items()
    }


def segment_on_worker(
    args: argparse.Namespace, repeated: Collection[str], path: str, model: Model
) -> tuple[str, Mapping[str, object], list[str]]:
    """Segment an image of a folder in a task; returns its name, the values of its result, and notes.

    Args:
        args: The arguments for the folder, with paths that all workers see.
        repeated: Stems that several images of the folder have.
        path: The image.
        model: The model of the worker.
    """
    collected = _OnWorker(as_json=True, quiet=True)
    own = _args_of(args, Path(path), repeated, ".tif")
    loaded = HeadAndModel(own, collected)
    loaded.model = model
    run_image(own, collected, loaded)
    return Path(path).name, collected.results[-1], collected.notes
