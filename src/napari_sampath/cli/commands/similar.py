"""`sampath similar`: find the objects of an image that look like given ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...arrays import LocalMask
from ...errors import PromptError
from ...files import write_atomically
from ...files.messages import plural
from ...geometry import check_inside
from ...predict.instances.label_map import number_map
from ...tiling import tile_for
from ..fields import add_fields, from_args
from ..output import Output
from ..subcommand import Subcommand, add_image, add_model, add_output, check_suffix, load, open_image
from .everything import instance_map_writer

if TYPE_CHECKING:
    from ...images import LoadedImage
    from ...predict import Model

_PLACE = "X,Y or X0,Y0,X1,Y1"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath similar`."""
    from ...predict.similar.settings import SimilarSettings

    add_image(parser)
    add_output(parser, "instance map to write, .png (16 bit) or .tif; the given objects come first")
    group = parser.add_argument_group("objects, in pixels from the top left corner: x to the right, y down")
    group.add_argument(
        "--object",
        action="append",
        required=True,
        type=_place,
        metavar=_PLACE,
        help="point on an object to start from, or box around it; may be repeated",
    )
    group.add_argument(
        "--reject",
        action="append",
        default=[],
        type=_place,
        metavar=_PLACE,
        help="point on an object that is not wanted, or box around it; may be repeated",
    )
    add_model(parser)
    add_fields(parser, SimilarSettings, "criteria for keeping objects")


def run(args: argparse.Namespace, output: Output) -> None:
    """Find similar objects and write an instance map; the given objects have the first numbers."""
    from ...predict.similar.find_similar import find_similar_job
    from ...predict.similar.settings import SimilarSettings
    from ...predict.similar.shipped_heads import ShippedHeads

    suffix = check_suffix(args.output, ".png", ".tif", ".tiff")
    settings = from_args(SimilarSettings, args)
    image = open_image(args.image, output)
    hw = (image.pixels.shape[0], image.pixels.shape[1])
    check_inside(hw, [corner for place in (*args.object, *args.reject) for corner in _corners(place)])
    model = load(args, output)
    exemplars, rejected = (
        [_outline(place, image, model) for place in places] for places in (args.object, args.reject)
    )
    tile = partial(model.encode, image.pixels)
    result = output.run(
        find_similar_job(hw, exemplars, model, tile, rejected, heads=ShippedHeads(model, image.pixels))
    )
    found = result.select(settings)
    ids = number_map([*exemplars, *(obj.mask for obj in found)], hw)
    write_atomically(args.output, instance_map_writer(args.output, suffix, ids))
    objects = [
        {
            "id": number,
            "area_px": obj.mask.area_px,
            "similarity": round(obj.similarity, 4),
            "predicted_iou": round(obj.predicted_iou, 4),
        }
        for number, obj in enumerate(found, start=1 + len(exemplars))
    ]
    output.result(
        {"labels": str(args.output), "model": model.name, "exemplars": len(exemplars), "objects": objects},
        f"{args.output}: {plural(len(found), 'similar object')}",
    )


def _outline(place: Sequence[float], image: LoadedImage, model: Model) -> LocalMask:
    """Return the object at a point or in a box.

    Raises:
        PromptError: If the model finds no object there, or answers no prompts.
    """
    from ...predict.similar.outline import outline

    hw = (image.pixels.shape[0], image.pixels.shape[1])
    features = model.encode(image.pixels, tile_for(hw, _corners(place)))
    mask = outline(model, features, place)
    if not mask.bitmap.any():
        at = ",".join(f"{number:g}" for number in place)
        raise PromptError(f"There is no object at {at}; give a point on an object, or a box around it.")
    return mask


def _place(text: str) -> tuple[float, ...]:
    values = tuple(float(word) for word in text.split(","))
    if len(values) not in (2, 4) or not np.isfinite(values).all():
        raise ValueError(text)
    return values


_place.__name__ = f"{_PLACE} (numbers separated by commas)"


def _corners(place: Sequence[float]) -> list[Sequence[float]]:
    return [place[:2], place[2:]] if len(place) == 4 else [place]


SUBCOMMAND = Subcommand(
    "find the objects that look like given ones",
    "sampath similar tissue.png --object 120,80 --object 200,140 -o nuclei.tif",
    arguments,
    run,
)
