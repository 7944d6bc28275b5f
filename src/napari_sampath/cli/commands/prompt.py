"""`sampath prompt`: segment one object with points, a box, a mask or a text."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...arrays import BoolArray, Prompts
from ...errors import ImageError, PromptError
from ...files import write_atomically
from ...geometry import check_inside
from ...tiling import tile_for
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
    from ...arrays import FloatArray, LocalMask
    from ...predict import Model

_POINT = "X,Y"
_BOX = "X0,Y0,X1,Y1"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath prompt`."""
    add_image(parser)
    add_output(parser, "mask to write, .png or .tif")
    group = parser.add_argument_group("prompts, in pixels from the top left corner: x to the right, y down")
    group.add_argument(
        "--point",
        action="append",
        default=[],
        type=_numbers(2),
        metavar=_POINT,
        help="point on the object; may be repeated",
    )
    group.add_argument(
        "--negative",
        action="append",
        default=[],
        type=_numbers(2),
        metavar=_POINT,
        help="point outside the object; may be repeated",
    )
    group.add_argument("--box", type=_numbers(4), metavar=_BOX, help="box around the object")
    group.add_argument(
        "--mask",
        type=Path,
        metavar="FILE",
        help="rough mask with the size of the image; nonzero pixels belong to the object",
    )
    group = parser.add_argument_group("text prompts, for weights made by 'sampath tune --prompt clip'")
    group.add_argument(
        "--text",
        metavar="TEXT",
        help="a few words that describe the object; without another prompt, the whole image is one tile",
    )
    group.add_argument(
        "--text-model",
        metavar="NAME",
        help="text model that the weights were trained with (default: the name in the weights file)",
    )
    group.add_argument(
        "--text-weights", type=Path, metavar="FILE", help="file with your own weights of the text model"
    )
    parser.add_argument(
        "--high-resolution",
        "--closer",
        action="store_true",
        help="use a tile at twice the usual resolution, for small objects such as nuclei",
    )
    add_model(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Segment one object and write the best candidate mask."""
    suffix = check_suffix(args.output, ".png", ".tif", ".tiff")
    has_location = bool(args.point or args.negative or args.box or args.mask)
    if not has_location and args.text is None:
        raise PromptError("There is no prompt; give --point, --box, --mask or --text.")
    if args.text is None and (args.text_model or args.text_weights):
        raise PromptError("There is no text for the text model; give --text, or leave out --text-model.")
    if args.high_resolution and not has_location:
        raise PromptError("--high-resolution needs a place in the image; add --point, --box or --mask.")
    image = open_image(args.image, output)
    hw = (image.pixels.shape[0], image.pixels.shape[1])
    mask_prompt = None if args.mask is None else read_mask(args.mask, hw, image.orientation)
    locations = [*args.point, *args.negative, *_corners(args.box), *_extent(mask_prompt)]
    check_inside(hw, locations)
    if args.box:
        Prompts.make(box=args.box)  # reject an invalid box before the model is loaded

    model = load(args, output)
    text = None if args.text is None else _text_prompt(args, model, output)
    corners = locations or [(0.0, 0.0), (hw[1], hw[0])]
    features = model.encode(image.pixels, tile_for(hw, corners, args.high_resolution))
    prompts = Prompts.make(
        points=[*args.point, *args.negative],
        labels=[1] * len(args.point) + [0] * len(args.negative),
        box=args.box,
        mask=None if mask_prompt is None else model.mask_to_logits(mask_prompt, features.frame),
        text=text,
    )
    from ...predict import local_mask
    from ...predict.decoder.candidates import best_first, corrected

    logits, scores = best_first(model, features, prompts)
    # Without another prompt, the first point selects the object; later points are corrections.
    first = 0 if args.box or mask_prompt is not None or text is not None else 1
    mask = local_mask(
        features.frame,
        corrected(logits[0], prompts.points_xy[first:], prompts.labels[first:], features.frame),
    )
    write_atomically(args.output, raster_writer(mask.to_dense(hw).astype(np.uint8) * 255, suffix))
    _report(args, output, mask, float(scores[0]), model.name)


def _text_prompt(args: argparse.Namespace, model: Model, output: Output) -> FloatArray:
    """Load the text model, and convert the text to a prompt."""
    from ...config import load_config
    from ...encoders.text.loading import load_text_model_job
    from ...predict.text.prompt import find_projection, text_prompt

    trained_with = find_projection(model).text_model.name
    name = args.text_model or trained_with
    text_model = output.run(load_text_model_job(name, args.text_weights, load_config().device))
    return text_prompt(args.text, model, text_model)


def _report(args: argparse.Namespace, output: Output, mask: LocalMask, score: float, model: str) -> None:
    if not mask.area_px:
        output.note("The mask is empty; try another prompt.")
    height, width = mask.bitmap.shape
    box = [mask.col, mask.row, mask.col + width, mask.row + height]
    output.result(
        {"mask": str(args.output), "area_px": mask.area_px, "score": score, "box_xyxy": box, "model": model},
        f"{args.output}: {mask.area_px} px, predicted IoU {score:.2f}",
    )


def read_mask(path: Path, hw: tuple[int, int], orientation: int = 1) -> BoolArray:
    """Read a mask prompt: a grey, binary or label image whose nonzero pixels belong to the object.

    Args:
        path: PNG, TIFF or another format that `rasters.read_labels` reads.
        hw: Size (H, W) of the image that the mask belongs to.
        orientation: `LoadedImage.orientation` of that image.

    Returns:
        (H, W) bool.

    Raises:
        PromptError: If the mask cannot be read, is empty or does not have the size `hw`.
    """
    from ...rasters import read_labels

    try:
        values = read_labels(path, hw, orientation).values
    except ImageError as error:
        raise PromptError(f"The mask prompt cannot be used: {error}") from None
    if not values.any():
        raise PromptError(
            f"The mask '{path}' is empty: all its pixels are 0; set the pixels of the object to another value."
        )
    return values.astype(np.bool_)


def _numbers(count: int) -> Callable[[str], tuple[float, ...]]:
    """Return an argparse type that parses `count` comma-separated numbers."""

    def parse(text: str) -> tuple[float, ...]:
        values = tuple(float(word) for word in text.split(","))
        if len(values) != count or not np.isfinite(values).all():
            raise ValueError(text)
        return values

    parse.__name__ = f"{_POINT if count == 2 else _BOX} (numbers separated by commas)"
    return parse


def _corners(box: tuple[float, ...] | None) -> list[tuple[float, ...]]:
    return [] if box is None else [box[:2], box[2:]]


def _extent(mask: BoolArray | None) -> list[tuple[float, ...]]:
    """Return the corners (x, y) of a mask's bounding box."""
    if mask is None:
        return []
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [(float(cols[0]), float(rows[0])), (float(cols[-1]), float(rows[-1]))]


SUBCOMMAND = Subcommand(
    "segment one object with points, a box, a mask or a text",
    "sampath prompt tissue.png --box 120,80,260,210 --negative 200,90 -o mask.png",
    arguments,
    run,
)
