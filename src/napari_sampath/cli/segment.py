"""`sampath segment`: a trained head over a whole image."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import StorageError
from ..files import Write, write_together
from .output import Output, table
from .verb import Verb, add_model, check_ending, load, open_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..arrays import ClassInfo, FloatArray, UInt8Array


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath segment`."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="JPEG, PNG, TIFF ...")
    parser.add_argument(
        "--head", required=True, metavar="NAME", help="see 'sampath models', or a bundle file"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="class map, .png (indexed) or .tif"
    )
    parser.add_argument(
        "--confidence",
        type=Path,
        metavar="FILE",
        help="also write the probability of the class chosen, .tif, 0 to 1",
    )
    add_model(parser, default=None)


def run(args: argparse.Namespace, output: Output) -> None:
    """Segment an image; class map and confidence are written together or not at all."""
    from ..heads import load_head
    from ..predict import segment_job

    ending = check_ending(args.output, ".png", ".tif", ".tiff")
    if args.confidence is not None:
        check_ending(args.confidence, ".tif", ".tiff")
        if os.path.realpath(args.confidence) == os.path.realpath(args.output):
            raise StorageError(f"Labels and confidence would both be '{args.output}'; give two names.")
    head = load_head(args.head)
    picture = open_picture(args.image, output)
    args.model = args.model or head.encoder_name
    model = load(args, output)
    result = output.run(segment_job(picture.pixels, head, model))

    files = {args.output: _labels(result.labels, result.classes, ending)}
    if args.confidence is not None:
        files[args.confidence] = _tiff(result.confidence)
    write_together(files)
    shares = _shares(result.labels, result.classes)
    rows = [[str(one["id"]), str(one["name"]), f"{one['share']:.1%}"] for one in shares]
    values = {"labels": str(args.output), "head": head.name, "model": model.name, "classes": shares}
    if args.confidence is not None:
        values["confidence"] = str(args.confidence)
    output.result(values, f"{args.output}:\n{table(['ID', 'CLASS', 'SHARE'], rows)}")


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
