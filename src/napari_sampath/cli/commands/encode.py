"""`sampath encode`: compute features ahead of annotating."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ImageError, SampathError, StorageError
from ...files.messages import plural
from ...geometry import Frame
from ...jobs import Job, Progress
from ...tiling import TILE_PX
from ..output import Output
from ..sharing import add_sharing, model_spec, part_of
from ..subcommand import Subcommand, add_model, load, open_image

if TYPE_CHECKING:
    from ...images import LoadedImage
    from ...predict import Model

USES = ("both", "clicks", "heads")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath encode`."""
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders of them"
    )
    parser.add_argument(
        "--for",
        dest="use",
        choices=USES,
        default="both",
        help="encode the tiles that clicks use, that heads use, or both; on images over 1,536 px, tiles for clicks "
        "overlap more (default: %(default)s)",
    )
    parser.add_argument(
        "--tile-px",
        type=int,
        metavar="PX",
        default=TILE_PX,
        help="side of the tiles of heads in image pixels, as 'sampath segment --json' states it for a head "
        "(default: %(default)s)",
    )
    add_model(parser)
    add_sharing(parser, "image")


def run(args: argparse.Namespace, output: Output) -> int:
    """Encode every tile of every image; skip images that cannot be read."""
    from ...predict.head_tiles import check_tile_px, tiles_for

    number, count_of_parts = part_of(args.part)
    paths = find_images(args.images, output)[number - 1 :: count_of_parts]
    check_tile_px(args.tile_px)
    if args.scheduler is not None:
        return _run_on_workers(args, paths, output)
    model = load(args, output)
    _check_store(model)
    started = time.perf_counter()
    total = 0
    failed: dict[str, str] = {}
    for number, path in enumerate(paths, start=1):
        try:
            image = open_image(path, output)
            frames = tiles_for((image.pixels.shape[0], image.pixels.shape[1]), args.use, args.tile_px)
            total += output.run(_encode(model, image, frames, f"{path.name} ({number} of {len(paths)})"))
            _check_store(model)
        except ImageError as error:
            failed[str(path)] = str(error)
            output.note(str(error))
    if failed and len(failed) == len(paths):
        raise SampathError(next(iter(failed.values())))
    return _report(output, args.model, len(paths), total, failed, time.perf_counter() - started)


def _run_on_workers(args: argparse.Namespace, paths: list[Path], output: Output) -> int:
    """Encode the images on the workers of a scheduler."""
    from ...cluster import EncodeSpec, cluster_encode_job

    started = time.perf_counter()
    spec = EncodeSpec(model_spec(args), args.use, args.tile_px)
    job = cluster_encode_job(spec, [str(path.absolute()) for path in paths], args.scheduler)
    total, failed = output.run(job)
    for message in failed.values():
        output.note(message)
    return _report(output, args.model, len(paths), total, failed, time.perf_counter() - started)


def _report(
    output: Output, model: str, images: int, tiles: int, failed: dict[str, str], seconds: float
) -> int:
    """Write the result and return the exit code."""
    rate = tiles / seconds if seconds else 0.0
    encoded = images - len(failed)
    output.result(
        {
            "images": encoded,
            "tiles": tiles,
            "seconds": seconds,
            "tiles_per_second": rate,
            "failed": failed,
        },
        f"Encoded {plural(tiles, 'tile')} of {plural(encoded, 'image')} with {model} "
        f"in {seconds:.1f} s ({rate:.2f} tiles/s).",
    )
    return 1 if failed else 0


def find_images(named: list[Path], output: Output) -> list[Path]:
    """Replace each folder by its images, sorted by name; a note lists the files that are left out.

    Raises:
        ImageError: If a path does not exist, or a folder contains no image.
    """
    from ...images import IMAGE_SUFFIXES, list_images

    images: list[Path] = []
    for path in named:
        if path.is_dir():
            listing = list_images(path)
            output.note(listing.note)
            if not listing.paths:
                raise ImageError(
                    f"The folder '{path}' contains no image ({', '.join(IMAGE_SUFFIXES)}); give a folder with images."
                )
            images += listing.paths
        elif path.exists():
            images.append(path)
        else:
            raise ImageError(f"There is no file '{path}'; check the path.")
    return images


def _check_store(model: Model) -> None:
    """Raise StorageError if features cannot be written to disk and would be lost when this process ends."""
    if model.store is None or not model.store.keeps:
        raise StorageError(
            "Features cannot be written to disk (see `sampath cache info`), so encoding ahead has no effect; free "
            "disk space or set SAMPATH_CACHE_LIMIT_BYTES above 0, then run the command again: tiles already stored are "
            "reused."
        )


def _encode(model: Model, image: LoadedImage, frames: list[Frame], name: str) -> Job[int]:
    """Encode tiles of an image into the model's store and return their number."""
    yield Progress(0, len(frames), name, "tiles")
    for done, _ in enumerate(model.encode_tiles(image.pixels, frames), start=1):
        yield Progress(done, len(frames), name, "tiles")
    return len(frames)


SUBCOMMAND = Subcommand(
    "compute and store the features of images ahead of annotating",
    "sampath encode slides/ --model sampath-tiny",
    arguments,
    run,
)
