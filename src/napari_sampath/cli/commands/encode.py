"""`sampath encode`: fill the feature store ahead of annotating."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ImageError, SampathError, StorageError
from ...geometry import Frame, prompt_tiles, tiles
from ...jobs import Job, Progress
from ..output import Output, count
from ..verb import Verb, add_model, load, open_picture

if TYPE_CHECKING:
    from ...images import LoadedImage
    from ...predict import Model

ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
"""What is taken for an image in a folder; a file named by itself may have any ending."""
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
        help="clicks, heads, or both: of an image over 1,536 px clicks use tiles that overlap more (default: both)",
    )
    add_model(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Encode every tile of every image; goes on after an image that cannot be read."""
    paths = find_images(args.images)
    model = load(args, output)
    _refuse_forgetful(model)
    started = time.perf_counter()
    total, failed = 0, {}
    for number, path in enumerate(paths):
        try:
            picture = open_picture(path, output)
            frames = _frames((picture.pixels.shape[0], picture.pixels.shape[1]), args.use)
            total += output.run(
                _encode(model, picture, frames, f"{path.name} ({number + 1} of {len(paths)})")
            )
            _refuse_forgetful(model)
        except ImageError as error:
            failed[str(path)] = str(error)
            output.note(str(error))
    if len(failed) == len(paths):
        raise SampathError(next(iter(failed.values())))
    seconds = time.perf_counter() - started
    rate = total / seconds if seconds else 0.0
    output.result(
        {
            "images": len(paths) - len(failed),
            "tiles": total,
            "seconds": seconds,
            "tiles_per_second": rate,
            "failed": failed,
        },
        f"Encoded {count(total, 'tile')} of {count(len(paths) - len(failed), 'image')} with {model.name} "
        f"in {seconds:.1f} s ({rate:.2f} tiles/s).",
    )
    return 1 if failed else 0


def find_images(named: list[Path]) -> list[Path]:
    """Replace folders by the images in them, in order of name.

    Raises:
        ImageError: If a name does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    for path in named:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in ENDINGS)
            if not inside:
                raise ImageError(
                    f"The folder '{path}' holds no image ({', '.join(ENDINGS)}); name another one."
                )
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise ImageError(f"There is no file '{path}'; check the path.")
    return found


def _refuse_forgetful(model: Model) -> None:
    """Raise if what is encoded would be gone with this process: nobody waits hours for that."""
    if model.store is None or not model.store.keeps:
        raise StorageError(
            "The features cannot be kept on disk (see `sampath cache info`), so encoding ahead is of no use; free "
            "some space or set SAMPATH_CACHE_LIMIT_BYTES above 0, then run this again: what was kept is found."
        )


def _frames(hw: tuple[int, int], use: str) -> list[Frame]:
    """List the tiles (H, W) that clicks, heads or both look up, each once."""
    clicks = prompt_tiles(hw) if use != "heads" else []
    return list(dict.fromkeys([*clicks, *(tiles(hw) if use != "clicks" else [])]))


def _encode(model: Model, picture: LoadedImage, frames: list[Frame], name: str) -> Job[int]:
    """Encode tiles of an image into the model's store, keeping none in memory."""
    yield Progress(0, len(frames), name, "tiles")
    for done, _ in enumerate(model.encode_tiles(picture.pixels, frames), start=1):
        yield Progress(done, len(frames), name, "tiles")
    return len(frames)


VERB = Verb(
    "compute the features of images ahead of time, into the store",
    "sampath encode slides/ --model sampath-tiny",
    arguments,
    run,
)
