"""`sampath everything`: all objects that a grid of points brings out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ImageError
from ...files import Write, write_atomically
from ...predict.instances.label_map import PNG_IDS, number_map
from ..fields import add_fields, from_args
from ..output import Output, count
from ..verb import Verb, add_model, check_ending, load, open_picture

if TYPE_CHECKING:
    from ...arrays import IntArray


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath everything`: the fields of `EverythingSettings`."""
    from ...predict.everything.settings import EverythingSettings

    parser.add_argument("image", type=Path, metavar="IMAGE", help="JPEG, PNG, TIFF ...")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="object numbers, .png (16 bit) or .tif",
    )
    add_model(parser)
    add_fields(parser, EverythingSettings, "settings of SAM's mask generator")


def run(args: argparse.Namespace, output: Output) -> None:
    """Find all masks and write them as one map of object numbers, best first in number."""
    from ...predict.everything.everything import segment_everything_job
    from ...predict.everything.settings import EverythingSettings

    ending = check_ending(args.output, ".png", ".tif", ".tiff")
    settings = from_args(EverythingSettings, args)
    picture = open_picture(args.image, output)
    model = load(args, output)
    masks = output.run(segment_everything_job(picture.pixels, model, settings))
    masks.sort(key=lambda one: -one.predicted_iou)
    hw = picture.pixels.shape[0], picture.pixels.shape[1]
    numbers = number_map([one.mask for one in masks], hw)
    write_atomically(args.output, number_writer(args.output, ending, numbers))
    objects = [
        {
            "id": number,
            "area_px": one.area_px,
            "predicted_iou": one.predicted_iou,
            "stability": one.stability_score,
            "bbox_xywh": one.bbox_xywh,
        }
        for number, one in enumerate(masks, start=1)
    ]
    output.result(
        {"labels": str(args.output), "model": model.name, "objects": objects},
        f"{args.output}: {count(len(masks), 'object')}",
    )


def number_writer(path: Path, ending: str, numbers: IntArray) -> Write:
    """Return the writer of a map of object numbers (H, W): TIFF, or PNG of 16 bit.

    Raises:
        ImageError: If there are more objects than a PNG can number.
    """
    import tifffile
    from PIL import Image

    if ending != ".png":
        return lambda stream: tifffile.imwrite(stream, numbers, compression="zlib")
    if numbers.dtype != np.uint16:
        raise ImageError(f"'{path}' cannot hold more than {PNG_IDS} objects; write a .tif file.")
    return lambda stream: Image.fromarray(numbers).save(stream, format="PNG")


VERB = Verb(
    "find all objects that a grid of points brings out",
    "sampath everything tissue.png --points-per-side 16 -o objects.tif",
    arguments,
    run,
)
