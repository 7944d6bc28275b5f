"""`sampath segment`: apply a trained head to a whole image."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ConfigError, StorageError
from ...files.messages import plural
from ...predict.instances.label_map import number_map
from ..fields import add_fields
from ..output import Output, table
from ..subcommand import (
    Subcommand,
    add_image,
    add_model,
    add_output,
    check_suffix,
    load,
    raster_writer,
)
from .everything import instance_map_writer
from .segment_slide import (
    add_slide_arguments,
    instance_settings,
    is_folder_of_images,
    is_slide_output,
    open_small_image,
    reject_slide_flags,
    run_folder,
    run_slide,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arrays import ClassInfo, UInt8Array
    from ...predict import Segmentation
    from ...predict.instances.resolve_outlines import Instance


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath segment`, including the fields of `InstanceSettings`."""
    from ...predict.instances.settings import InstanceSettings

    add_image(parser)
    parser.add_argument(
        "--head",
        required=True,
        metavar="NAME",
        help="trained head: a name from 'sampath models', or a bundle file",
    )
    add_output(
        parser,
        "class map to write, .png (indexed) or .tif; with --objects an instance map, .png (16 bit) or .tif; for a "
        "folder of images, the folder of their maps",
    )
    parser.add_argument(
        "--objects",
        action="store_true",
        help="separate the objects, including touching objects, and write an instance map instead of a class map; for "
        "slides, in addition to it",
    )
    parser.add_argument(
        "--confidence",
        type=Path,
        metavar="FILE",
        help="also write the probability of the predicted class, 0 to 1, as .tif",
    )
    parser.add_argument(
        "--region",
        type=int,
        nargs=4,
        metavar=("TOP", "LEFT", "BOTTOM", "RIGHT"),
        help="segment only this region, in pixels; the class map has the size of the image and is 0 outside",
    )
    parser.add_argument(
        "--tile-px",
        type=int,
        metavar="PX",
        help="side of the tiles on which the head runs, in image pixels, 128 to 4096; by default that of its training "
        "images. If structures in the image are twice as large as in these, give twice as many",
    )
    add_model(parser, default=None)
    add_fields(parser, InstanceSettings, "settings of --objects")
    add_slide_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Segment an image, a slide, or the images and slides of a folder."""
    _check_region(args)
    if is_folder_of_images(args.image):
        return run_folder(args, output, run)
    return run_slide(args, output) if is_slide_output(args.output) else _run_image(args, output)


def _run_image(args: argparse.Namespace, output: Output) -> int:
    """Segment an image and write all requested files, or none if one fails."""
    from ...annotations import pixel_digest
    from ...formats.manifest import write_label_map
    from ...heads import load_head
    from ...predict import segment_job, separate_touching_job
    from ...predict.foreign.compare import check_image
    from ...predict.instances.instances import check_promptable

    reject_slide_flags(args)
    suffix = _check_outputs(args)
    settings = instance_settings(args)
    head = load_head(args.head)
    image = open_small_image(args.image, output)
    args.model = args.model or head.encoder_name
    model = load(args, output)
    if settings is not None:
        check_promptable(model)
    region = None if args.region is None else tuple(args.region)
    warning = check_image(image.pixels, head, region, image.mpp, args.tile_px)
    output.note(warning)
    job = segment_job(image.pixels, head, model, region, mpp=image.mpp, tile_px=args.tile_px)
    result = _in_image(output.run(job), image.pixels.shape[:2])
    values: dict[str, object] = {
        **{"labels": str(args.output), "head": head.name, "model": model.name},
        **{"tile_px": result.tile_px, "warning": result.warning},
    }
    if settings is None:
        labels_writer = raster_writer(result.labels, suffix, _palette(result.classes))
        shares = _shares(result.labels, result.classes)
        values["classes"] = shares
        rows = [[str(row["id"]), str(row["name"]), f"{row['share']:.1%}"] for row in shares]
        text = f"\n{table(['ID', 'CLASS', 'SHARE'], rows)}"
    else:
        instances = output.run(separate_touching_job(result, image.pixels, model, settings))
        instances.sort(key=lambda instance: -instance.score)
        ids = number_map([instance.mask for instance in instances], result.labels.shape)
        labels_writer = instance_map_writer(args.output, suffix, ids)
        values["objects"] = _objects(instances, result.classes)
        text = f" {plural(len(instances), 'object')}"
    files = {args.output: labels_writer}
    if args.confidence is not None:
        files[args.confidence] = raster_writer(result.confidence, ".tif")
        values["confidence"] = str(args.confidence)
    note = write_label_map(
        files,
        args.output,
        "classes" if settings is None else "instances",
        image.name,
        result.labels.shape,
        [info for info in result.classes if info.id],
        pixel_digest(image.pixels),
    )
    output.note(note)
    output.note(result.warning if result.warning != warning else None)
    output.result(values, f"{args.output}:{text}")
    return 0


def _check_outputs(args: argparse.Namespace) -> str:
    """Check the endings of the files to write, and return that of the labels."""
    suffix = check_suffix(args.output, ".png", ".tif", ".tiff")
    if args.confidence is not None:
        check_suffix(args.confidence, ".tif", ".tiff")
        if os.path.realpath(args.confidence) == os.path.realpath(args.output):
            raise StorageError(
                f"--output and --confidence are both '{args.output}'; give two different files."
            )
    return suffix


def _check_region(args: argparse.Namespace) -> None:
    if args.region is not None and (args.objects or is_slide_output(args.output)):
        raise ConfigError(
            "--region works for class maps only; leave out --objects and write a .png or .tif file."
        )


def _in_image(result: Segmentation, hw: tuple[int, ...]) -> Segmentation:
    """Place the result of a region in maps of the size of the image (H, W), which are 0 outside."""
    rows, cols = result.labels.shape
    if (rows, cols) == tuple(hw):
        return result
    row, col = result.origin_rc
    part = np.s_[row : row + rows, col : col + cols]
    labels, confidence = np.zeros(hw, result.labels.dtype), np.zeros(hw, result.confidence.dtype)
    labels[part], confidence[part] = result.labels, result.confidence
    return replace(result, labels=labels, confidence=confidence, probabilities=None, origin_rc=(0, 0))


def _objects(instances: Sequence[Instance], classes: Sequence[ClassInfo]) -> list[dict[str, object]]:
    """Return the properties of objects, in the order of their ids."""
    names = {info.id: info.name for info in classes}
    return [
        {
            "id": number,
            "class": names[instance.class_id],
            "area_px": instance.area_px,
            "score": instance.score,
            "predicted_iou": instance.predicted_iou,
            "bbox_xywh": instance.bbox_xywh,
        }
        for number, instance in enumerate(instances, start=1)
    ]


def _shares(labels: UInt8Array, classes: Sequence[ClassInfo]) -> list[dict[str, object]]:
    """Return the fraction of the pixels, 0 to 1, of each class."""
    counts = np.bincount(labels.ravel(), minlength=256)
    return [
        {"id": info.id, "name": info.name, "share": float(counts[info.id] / labels.size)} for info in classes
    ]


def _palette(classes: Sequence[ClassInfo]) -> bytes:
    """Return the class colours as the palette of an indexed PNG."""
    palette = bytearray(3 * 256)
    for info in classes:
        palette[3 * info.id : 3 * info.id + 3] = bytes(info.color)
    return bytes(palette)


SUBCOMMAND = Subcommand(
    "segment a whole image with a trained head",
    "sampath segment tissue.png --head gland-cnn -o labels.tif --confidence confidence.tif",
    arguments,
    run,
)
