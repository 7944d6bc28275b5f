"""`sampath segment`: apply a trained head to an image, a slide, or a folder of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...fields import add_fields
from ...output import Output
from ...subcommand import Subcommand, add_image, add_model, add_output
from .folder import is_folder_of_images, run_folder
from .image import run_image
from .loading import HeadAndModel
from .slide import add_slide_arguments, check_region, is_slide_output, run_slide


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath segment`, including the fields of `InstanceSettings`."""
    from ....predict.instances.settings import InstanceSettings

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
    add_fields(parser, InstanceSettings, "settings of --objects", leave_out=("outlines",))
    parser.add_argument(
        "--outlines",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="with --objects, let the model outline each object, or keep the outlines of the head (default: --outlines "
        "for images, --no-outlines for slides, where it takes much longer than the class map on a CPU)",
    )
    add_slide_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Segment an image, a slide, or the images and slides of a folder."""
    check_region(args)
    if is_folder_of_images(args.image):
        return run_folder(args, output)
    segment = run_slide if is_slide_output(args.output) else run_image
    return segment(args, output, HeadAndModel(args, output))


SUBCOMMAND = Subcommand(
    "segment a whole image with a trained head",
    "sampath segment tissue.png --head gland-cnn -o labels.tif --confidence confidence.tif",
    arguments,
    run,
)
