"""`sampath segment`: a trained head over a whole image."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...config import ConfigError
from ...errors import StorageError
from ...files import Write, write_together
from ...predict.instances.label_map import number_map
from ..fields import add_fields, from_args
from ..output import Output, count, table
from ..verb import Verb, add_model, check_ending, load, open_picture
from .everything import number_writer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arrays import ClassInfo, FloatArray, UInt8Array
    from ...predict.instances.resolve_outlines import Instance
    from ...predict.instances.settings import InstanceSettings


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath segment`; those of `--objects` are the fields of `InstanceSettings`."""
    from ...predict.instances.settings import InstanceSettings

    parser.add_argument("image", type=Path, metavar="IMAGE", help="JPEG, PNG, TIFF ...")
    parser.add_argument(
        "--head", required=True, metavar="NAME", help="see 'sampath models', or a bundle file"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="class map, .png (indexed) or .tif; with --objects the numbers of objects, .png (16 bit) or .tif",
    )
    parser.add_argument(
        "--objects",
        action="store_true",
        help="tell objects apart, also where they touch, and write their numbers in place of classes",
    )
    parser.add_argument(
        "--confidence",
        type=Path,
        metavar="FILE",
        help="also write the probability of the class chosen, .tif, 0 to 1",
    )
    add_model(parser, default=None)
    add_fields(parser, InstanceSettings, "settings of --objects")


def run(args: argparse.Namespace, output: Output) -> None:
    """Segment an image; what is asked for is written together or not at all."""
    from ...heads import load_head
    from ...predict import segment_job, separate_touching_job
    from ...predict.instances.instances import check_promptable

    ending = check_ending(args.output, ".png", ".tif", ".tiff")
    if args.confidence is not None:
        check_ending(args.confidence, ".tif", ".tiff")
        if os.path.realpath(args.confidence) == os.path.realpath(args.output):
            raise StorageError(f"Labels and confidence would both be '{args.output}'; give two names.")
    settings = _settings(args)
    head = load_head(args.head)
    picture = open_picture(args.image, output)
    args.model = args.model or head.encoder_name
    model = load(args, output)
    if settings is not None:
        check_promptable(model)
    result = output.run(segment_job(picture.pixels, head, model))
    values = {"labels": str(args.output), "head": head.name, "model": model.name}
    files = {} if args.confidence is None else {args.confidence: _tiff(result.confidence)}
    if settings is None:
        files[args.output] = _labels(result.labels, result.classes, ending)
        shares = _shares(result.labels, result.classes)
        rows = [[str(one["id"]), str(one["name"]), f"{one['share']:.1%}"] for one in shares]
        told: dict[str, object] = {"classes": shares}
        text = f"\n{table(['ID', 'CLASS', 'SHARE'], rows)}"
    else:
        found = output.run(separate_touching_job(result, picture.pixels, model, settings))
        found.sort(key=lambda one: -one.score)
        numbers = number_map([one.mask for one in found], result.labels.shape)
        files[args.output] = number_writer(args.output, ending, numbers)
        told = {"objects": _objects(found, result.classes)}
        text = f" {count(len(found), 'object')}"
    write_together(files)
    if args.confidence is not None:
        told["confidence"] = str(args.confidence)
    output.result(values | told, f"{args.output}:{text}")


def _settings(args: argparse.Namespace) -> InstanceSettings | None:
    """Return the settings of `--objects`; None where classes are wanted."""
    from ...predict.instances.settings import InstanceSettings

    given = [one.name for one in fields(InstanceSettings) if getattr(args, one.name) is not None]
    if given and not args.objects:
        flag = "--" + given[0].replace("_", "-")
        raise ConfigError(f"{flag} is a setting of --objects; give that, too, or leave {flag} out.")
    return from_args(InstanceSettings, args) if args.objects else None


def _objects(found: Sequence[Instance], classes: Sequence[ClassInfo]) -> list[dict[str, object]]:
    """Describe objects in the order of their numbers."""
    names = {one.id: one.name for one in classes}
    return [
        {
            "id": number,
            "class": names[one.class_id],
            "area_px": one.area_px,
            "score": one.score,
            "predicted_iou": one.predicted_iou,
            "bbox_xywh": one.bbox_xywh,
        }
        for number, one in enumerate(found, start=1)
    ]


def _shares(labels: UInt8Array, classes: Sequence[ClassInfo]) -> list[dict[str, object]]:
    """Say what share of the pixels each class has, 0..1."""
    counts = np.bincount(labels.ravel(), minlength=256)
    return [{"id": one.id, "name": one.name, "share": float(counts[one.id] / labels.size)} for one in classes]


def _labels(labels: UInt8Array, classes: Sequence[ClassInfo], ending: str) -> Write:
    """Return the writer of a class map (H, W): TIFF, or PNG with the class colours as palette."""
    if ending != ".png":
        return _tiff(labels)
    from PIL import Image

    palette = bytearray(3 * 256)
    for one in classes:
        palette[3 * one.id : 3 * one.id + 3] = bytes(one.color)
    image = Image.fromarray(labels).convert("L")
    image.putpalette(bytes(palette))
    return lambda stream: image.save(stream, format="PNG")


def _tiff(values: UInt8Array | FloatArray) -> Write:
    import tifffile

    return lambda stream: tifffile.imwrite(stream, values, compression="zlib")


VERB = Verb(
    "segment a whole image with a trained head",
    "sampath segment tissue.png --head gland-cnn -o labels.tif --confidence confidence.tif",
    arguments,
    run,
)
