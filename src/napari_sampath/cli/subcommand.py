"""The description of a subcommand, and the arguments and steps that several subcommands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import load_config
from ..errors import SampathError
from .output import Output

if TYPE_CHECKING:
    import numpy as np

    from ..files import Write
    from ..images import LoadedImage
    from ..predict import Model


class OutputNameError(SampathError, ValueError):
    """The name of an output file has an ending that no writer handles."""


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A subcommand of `sampath`."""

    summary: str
    """One line for `sampath --help`."""
    example: str
    """Command line shown by `sampath SUBCOMMAND --help`."""
    arguments: Callable[[argparse.ArgumentParser], None]
    """Declares the subcommand's arguments; called only if the subcommand is used."""
    run: Callable[[argparse.Namespace, Output], int | None]
    """Runs the subcommand and returns the exit code; None means 0."""


def add_model(
    parser: argparse.ArgumentParser, default: str | None = "sampath-tiny", precision: bool = True
) -> None:
    """Declare `--model`, `--weights`, `--precision`, `--compile`; with default None the head decides the model."""
    group = parser.add_argument_group("model")
    shown = default or "that of the head"
    group.add_argument(
        "--model", default=default, metavar="NAME", help=f"see 'sampath models' (default: {shown})"
    )
    group.add_argument(
        "--weights", type=Path, metavar="FILE", help="your own weights, or a folder with the official file"
    )
    if precision:
        group.add_argument(
            "--precision",
            default="auto",
            metavar="TYPE",
            help="float32, bfloat16, float16, or auto for the fastest on the device (default: %(default)s)",
        )
        group.add_argument(
            "--compile",
            action="store_true",
            help="compile the encoder; the first tile takes minutes, later ones less time",
        )


def add_image(parser: argparse.ArgumentParser) -> None:
    """Declare the positional argument IMAGE."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="JPEG, PNG, TIFF ...")


def add_output(parser: argparse.ArgumentParser, help: str, metavar: str = "FILE") -> None:
    """Declare the required flag `--output`, or `-o`."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar=metavar, help=help)


def load(args: argparse.Namespace, output: Output) -> Model:
    """Load the model chosen by the arguments of `add_model`, with the feature store on disk."""
    from ..predict import load_model_job
    from ..store import Store

    config = load_config()
    store = Store.from_config(config)
    compiled = getattr(args, "compile", False)
    return output.run(
        load_model_job(args.model, config.device, args.weights, store, args.precision, compiled)
    )


def open_image(path: Path, output: Output) -> LoadedImage:
    """Read an image and report how it was converted, if it was."""
    from ..images import read

    image = read(path)
    output.note(image.note)
    return image


def check_ending(path: Path, *allowed: str) -> str:
    """Return the lower-case ending of an output file; call this before the work starts.

    Raises:
        OutputNameError: If the ending is not one of `allowed`.
    """
    ending = path.suffix.lower()
    if ending not in allowed:
        raise OutputNameError(f"'{path}' cannot be written: its name must end in {' or '.join(allowed)}.")
    return ending


def raster_writer(values: np.ndarray[Any, Any], ending: str, palette: bytes | None = None) -> Write:
    """Return the writer of a map (H, W), .png or compressed TIFF.

    Args:
        values: uint8, uint16 for PNG; any number type for TIFF.
        ending: ".png", or ".tif", ".tiff".
        palette: RGB bytes of the values 0, 1, 2 ... for an indexed PNG.
    """
    if ending != ".png":
        import tifffile

        return lambda stream: tifffile.imwrite(stream, values, compression="zlib")
    from PIL import Image

    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette)
    return lambda stream: image.save(stream, format="PNG")
