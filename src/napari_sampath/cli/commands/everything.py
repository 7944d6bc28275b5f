"""`sampath everything`: segment all objects with a grid of point prompts."""

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
from ..subcommand import (
    Subcommand,
    add_image,
    add_model,
    add_output,
    check_ending,
    load,
    open_image,
    raster_writer,
)

if TYPE_CHECKING:
    from ...arrays import IntArray


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath everything`: the fields of `EverythingSettings`."""
    from ...predict.everything.settings import EverythingSettings

    add_image(parser)
    add_output(parser, "map of object numbers, .png (16 bit) or .tif")
    add_model(parser)
    add_fields(parser, EverythingSettings, "settings of SAM's mask generator")


def run(args: argparse.Namespace, output: Output) -> None:
    """Segment everything and write a map of object numbers; number 1 has the highest predicted IoU."""
    from ...predict.everything.everything import segment_everything_job
    from ...predict.everything.settings import EverythingSettings

    ending = check_ending(args.output, ".png", ".tif", ".tiff")
    settings = from_args(EverythingSettings, args)
    image = open_image(args.image, output)
    model = load(args, output)
    masks = output.run(segment_everything_job(image.pixels, model, settings))
    masks.sort(key=lambda mask: -mask.predicted_iou)
    numbers = number_map([mask.mask for mask in masks], (image.pixels.shape[0], image.pixels.shape[1]))
    write_atomically(args.output, number_writer(args.output, ending, numbers))
    objects = [
        {
            "id": number,
            "area_px": mask.area_px,
            "predicted_iou": mask.predicted_iou,
            "stability": mask.stability_score,
            "bbox_xywh": mask.bbox_xywh,
        }
        for number, mask in enumerate(masks, start=1)
    ]
    output.result(
        {"labels": str(args.output), "model": model.name, "objects": objects},
        f"{args.output}: {count(len(masks), 'object')}",
    )


def number_writer(path: Path, ending: str, numbers: IntArray) -> Write:
    """Return the writer of a map of object numbers (H, W): TIFF, or 16-bit PNG.

    Raises:
        ImageError: If there are more objects than 16 bits can number.
    """
    if ending == ".png" and numbers.dtype != np.uint16:
        raise ImageError(f"'{path}' cannot hold more than {PNG_IDS} objects; write a .tif file.")
    return raster_writer(numbers, ending)


SUBCOMMAND = Subcommand(
    "segment all objects with a grid of point prompts",
    "sampath everything tissue.png --points-per-side 16 -o objects.tif",
    arguments,
    run,
)
