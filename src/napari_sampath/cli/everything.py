"""`sampath everything`: all objects that a grid of points brings out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ImageError
from ..files import write_atomically
from .fields import add_fields, from_args
from .output import Output, count
from .verb import Verb, add_model, check_ending, load, open_picture

if TYPE_CHECKING:
    from ..arrays import IntArray
    from ..predict.everything import EverythingMask

_PNG_IDS = 2**16 - 1
"""Largest number a 16-bit PNG holds."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath everything`: the fields of `EverythingSettings`."""
    from ..predict.everything_settings import EverythingSettings

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
    from ..predict.everything import segment_everything_job
    from ..predict.everything_settings import EverythingSettings

    ending = check_ending(args.output, ".png", ".tif", ".tiff")
    settings = from_args(EverythingSettings, args)
    picture = open_picture(args.image, output)
    model = load(args, output)
    masks = output.run(segment_everything_job(picture.pixels, model, settings))
    masks.sort(key=lambda one: -one.predicted_iou)
    _write(args.output, ending, number_map(masks, (picture.pixels.shape[0], picture.pixels.shape[1])))
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


def number_map(masks: list[EverythingMask], hw: tuple[int, int]) -> IntArray:
    """Paint masks into one map; where they overlap, the smaller one lies on top.

    Returns:
        (H, W) uint16, or uint32 from 65,536 masks on; mask k has the number k + 1, 0 is none.
    """
    numbers = np.zeros(hw, dtype=np.uint16 if len(masks) <= _PNG_IDS else np.uint32)
    for index in sorted(range(len(masks)), key=lambda index: -masks[index].area_px):
        local = masks[index].mask
        numbers[local.slices][local.bitmap] = index + 1
    return numbers


def _write(path: Path, ending: str, numbers: IntArray) -> None:
    import tifffile
    from PIL import Image

    if ending != ".png":
        write_atomically(path, lambda stream: tifffile.imwrite(stream, numbers, compression="zlib"))
    elif numbers.dtype == np.uint16:
        write_atomically(path, lambda stream: Image.fromarray(numbers).save(stream, format="PNG"))
    else:
        raise ImageError(f"'{path}' cannot hold more than {_PNG_IDS} objects; write a .tif file.")


VERB = Verb(
    "find all objects that a grid of points brings out",
    "sampath everything tissue.png --points-per-side 16 -o objects.tif",
    arguments,
    run,
)
