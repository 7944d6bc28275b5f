"""`sampath prompt`: one object by points, a box or a mask."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...arrays import BoolArray, Prompts
from ...errors import ImageError, PromptError
from ...files import write_atomically
from ...geometry import check_inside, tile_for
from ..output import Output
from ..verb import Verb, add_model, check_ending, load, open_picture

if TYPE_CHECKING:
    from ...arrays import LocalMask

_POINT = "X,Y"
_BOX = "X0,Y0,X1,Y1"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath prompt`."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="JPEG, PNG, TIFF ...")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="mask, .png or .tif")
    group = parser.add_argument_group("prompts, in pixels: x to the right, y down, from the top left corner")
    group.add_argument(
        "--point", action="append", default=[], type=_numbers(2), metavar=_POINT, help="on the object"
    )
    group.add_argument(
        "--negative", action="append", default=[], type=_numbers(2), metavar=_POINT, help="not on the object"
    )
    group.add_argument("--box", type=_numbers(4), metavar=_BOX, help="around the object")
    group.add_argument(
        "--mask", type=Path, metavar="FILE", help="rough mask of the image's size, object not 0"
    )
    parser.add_argument(
        "--closer",
        action="store_true",
        help="see a small object, such as a nucleus, at twice the usual scale",
    )
    add_model(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Answer one prompt and write the best of the candidates."""
    ending = check_ending(args.output, ".png", ".tif", ".tiff")
    if not (args.point or args.negative or args.box or args.mask):
        raise PromptError("There is no prompt; give --point, --box or --mask.")
    picture = open_picture(args.image, output)
    hw = (picture.pixels.shape[0], picture.pixels.shape[1])
    painted = None if args.mask is None else read_mask(args.mask, hw)
    spots = [*args.point, *args.negative, *_corners(args.box), *_extent(painted)]
    check_inside(hw, spots)
    if args.box:
        Prompts.make(box=args.box)  # said before the model is loaded, not after

    model = load(args, output)
    features = model.encode(picture.pixels, tile_for(hw, spots, args.closer))
    prompts = Prompts.make(
        points=[*args.point, *args.negative],
        labels=[1] * len(args.point) + [0] * len(args.negative),
        box=args.box,
        mask=None if painted is None else model.mask_to_logits(painted, features.frame),
    )
    from ...predict import local_mask
    from ...predict.decoder.candidates import best_first, corrected

    logits, scores = best_first(model, features, prompts)
    # The first point says what is meant, unless a box or a mask does; the others correct.
    first = 0 if args.box or painted is not None else 1
    found = local_mask(
        features.frame,
        corrected(logits[0], prompts.points_xy[first:], prompts.labels[first:], features.frame),
    )
    _write_mask(args.output, ending, found.to_dense(hw))
    _report(args, output, found, float(scores[0]), model.name)


def _report(args: argparse.Namespace, output: Output, found: LocalMask, score: float, model: str) -> None:
    if not found.area_px:
        output.note("The mask is empty; try another prompt.")
    height, width = found.bitmap.shape
    box = [found.col, found.row, found.col + width, found.row + height]
    output.result(
        {"mask": str(args.output), "area_px": found.area_px, "score": score, "box_xyxy": box, "model": model},
        f"{args.output}: {found.area_px} px, predicted IoU {score:.2f}",
    )


def read_mask(path: Path, hw: tuple[int, int]) -> BoolArray:
    """Read a mask prompt: a grey, binary or label image in which the object is not 0.

    Args:
        path: PNG, TIFF or whatever Pillow reads.
        hw: Size (H, W) of the image it belongs to.

    Returns:
        (H, W) bool.

    Raises:
        PromptError: If it cannot be read, is empty or has another size.
    """
    from ...rasters import read_raster

    try:
        values = read_raster(path, indexed=True).values
    except ImageError as error:
        raise PromptError(f"The mask prompt cannot be used: {error}") from None
    if values.ndim == 3:
        # An alpha channel says how opaque a pixel is, not whether it is the object.
        values = np.any(values[..., : 1 if values.shape[2] == 2 else 3], axis=2, keepdims=False)
    if values.shape != hw:
        raise PromptError(
            f"The mask '{path}' has shape {values.shape}, the image is {hw[1]} x {hw[0]} px (width x height); "
            "give a mask of the image's size."
        )
    if not values.any():
        raise PromptError(
            f"The mask '{path}' is empty: all its pixels are 0; paint the object with another value."
        )
    return values.astype(np.bool_)


def _numbers(count: int) -> Callable[[str], tuple[float, ...]]:
    """Return the argparse type for `count` numbers with commas between."""

    def parse(text: str) -> tuple[float, ...]:
        values = tuple(float(word) for word in text.split(","))
        if len(values) != count or not np.isfinite(values).all():
            raise ValueError(text)
        return values

    parse.__name__ = f"{_POINT if count == 2 else _BOX} (numbers with commas between)"
    return parse


def _corners(box: tuple[float, ...] | None) -> list[tuple[float, ...]]:
    return [] if box is None else [box[:2], box[2:]]


def _extent(mask: BoolArray | None) -> list[tuple[float, ...]]:
    """Return the corners (x, y) of a mask's bounding box."""
    if mask is None:
        return []
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [(float(cols[0]), float(rows[0])), (float(cols[-1]), float(rows[-1]))]


def _write_mask(path: Path, ending: str, mask: BoolArray) -> None:
    import tifffile
    from PIL import Image

    values = mask.astype(np.uint8) * 255
    if ending == ".png":
        write_atomically(path, lambda stream: Image.fromarray(values).save(stream, format="PNG"))
    else:
        write_atomically(path, lambda stream: tifffile.imwrite(stream, values, compression="zlib"))


VERB = Verb(
    "segment one object by points, a box or a mask",
    "sampath prompt tissue.png --box 120,80,260,210 --negative 200,90 -o mask.png",
    arguments,
    run,
)
