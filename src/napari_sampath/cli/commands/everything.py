"""`sampath everything`: segment all objects with a grid of point prompts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ImageError
from ...files import Write, write_atomically
from ...files.messages import plural
from ...predict.instances.label_map import PNG_IDS, number_map
from ..fields import add_fields, from_args
from ..output import Output
from ..subcommand import (
    Subcommand,
    add_image,
    add_model,
    add_output,
    check_suffix,
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
    add_output(parser, "instance map to write, .png (16 bit) or .tif")
    add_model(parser)
    add_fields(
        parser,
        EverythingSettings,
        "settings of the mask generator; sampath-tiny has calibrated defaults in place of the SAM defaults listed here",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Segment all objects and write an instance map; the object with id 1 has the highest predicted IoU."""
    from ...predict.everything.everything import segment_everything_job
    from ...predict.everything.settings import EverythingSettings

    suffix = check_suffix(args.output, ".png", ".tif", ".tiff")
    from_args(EverythingSettings, args)  # Report wrong values before the model is loaded.
    image = open_image(args.image, output)
    model = load(args, output)
    settings = from_args(EverythingSettings, args, EverythingSettings.of_model(model.encoder.info))
    masks = output.run(segment_everything_job(image.pixels, model, settings))
    masks.sort(key=lambda mask: -mask.predicted_iou)
    ids = number_map([mask.mask for mask in masks], (image.pixels.shape[0], image.pixels.shape[1]))
    write_atomically(args.output, instance_map_writer(args.output, suffix, ids))
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
        f"{args.output}: {plural(len(masks), 'object')}",
    )


def instance_map_writer(path: Path, suffix: str, ids: IntArray) -> Write:
    """Return a function that writes an instance map (H, W) as TIFF or 16-bit PNG.

    Raises:
        ImageError: If there are too many objects for a 16-bit PNG.
    """
    if suffix == ".png" and ids.dtype != np.uint16:
        raise ImageError(f"'{path}' cannot hold more than {PNG_IDS} objects; write a .tif file.")
    return raster_writer(ids, suffix)


SUBCOMMAND = Subcommand(
    "segment all objects with a grid of point prompts",
    "sampath everything tissue.png --points-per-side 16 -o objects.tif",
    arguments,
    run,
)
