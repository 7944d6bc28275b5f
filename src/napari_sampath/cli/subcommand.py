"""Description of a subcommand, and arguments and functions that several subcommands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import load_config
from ..errors import ConfigError, JournalError, SampathError
from .output import Output

if TYPE_CHECKING:
    import numpy as np

    from ..arrays import UInt8Array
    from ..encoders.remote import RemoteEncoder
    from ..files import Write
    from ..images import LoadedImage
    from ..predict import Model


class OutputNameError(SampathError, ValueError):
    """The name of an output file has a suffix that is not supported."""


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A subcommand of `sampath`."""

    summary: str
    """One-line description for `sampath --help`."""
    example: str
    """Example command for `sampath SUBCOMMAND --help`."""
    arguments: Callable[[argparse.ArgumentParser], None]
    """Function that declares the arguments; called only if the subcommand is used."""
    run: Callable[[argparse.Namespace, Output], int | None]
    """Function that runs the subcommand and returns the exit code; None means 0."""


def add_common(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Declare the flags that are accepted before and after the subcommand and its action."""
    group = parser.add_argument_group("options of all subcommands")
    switch = default or False
    group.add_argument(
        "--json", action="store_true", default=switch, help="print the result as one JSON object"
    )
    group.add_argument(
        "--quiet", action="store_true", default=switch, help="suppress progress bars and notes"
    )
    group.add_argument(
        "--device", default=default, metavar="NAME", help="device to run on: auto, cpu, cuda, cuda:1, mps"
    )
    group.add_argument("--cache", default=default, metavar="FOLDER", help="folder for weights and features")


def add_model(
    parser: argparse.ArgumentParser,
    default: str | None = "sampath-tiny",
    precision: bool = True,
    remote: bool = True,
) -> None:
    """Declare `--model`, `--weights` and, if `precision` is True, `--precision`, `--compile` and flags of a server.

    If `default` is None, the help text names the encoder of the head as the default.
    """
    group = parser.add_argument_group("model")
    shown = default or "the encoder of the head"
    group.add_argument(
        "--model",
        default=default,
        metavar="NAME",
        help=f"encoder or model; 'sampath models' lists the names (default: {shown})",
    )
    group.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="file with your own weights, or folder that contains the published weights file",
    )
    if precision:
        group.add_argument(
            "--precision",
            default="auto",
            metavar="TYPE",
            help="precision of the encoder: float32, bfloat16, float16, or auto for the fastest on the device "
            "(default: %(default)s)",
        )
        group.add_argument(
            "--compile",
            action="store_true",
            help="compile the encoder; the first tile takes minutes, later tiles are faster",
        )
    if precision and remote:
        group.add_argument(
            "--runs-on",
            metavar="ADDRESS",
            help="compute features on this server, such as https://host:8765 ('sampath serve' runs there)",
        )
        group.add_argument(
            "--token-file", type=Path, metavar="FILE", help="file with the token of the server"
        )
        group.add_argument(
            "--ca",
            type=Path,
            metavar="FILE",
            help="certificate of your laboratory's certificate authority (PEM), to verify the server",
        )


def add_image(parser: argparse.ArgumentParser) -> None:
    """Declare the positional argument IMAGE."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="image file (JPEG, PNG, TIFF ...)")


def add_output(
    parser: argparse.ArgumentParser, help: str, metavar: str = "FILE", required: bool = True
) -> None:
    """Declare the flag `-o` or `--output`."""
    parser.add_argument("-o", "--output", type=Path, required=required, metavar=metavar, help=help)


def load(args: argparse.Namespace, output: Output) -> Model:
    """Load the model that the arguments of `add_model` select, with a feature store."""
    from ..predict import load_model_job
    from ..store import Store

    config = load_config()
    store = Store.from_config(config)
    compiled = getattr(args, "compile", False)
    job = load_model_job(
        args.model, config.device, args.weights, store, args.precision, compiled, _server(args)
    )
    return output.run(job)


def _server(args: argparse.Namespace) -> RemoteEncoder | None:
    """Connect to the server of `--runs-on`; None without this flag.

    Raises:
        ConfigError: If it cannot be used, or a flag is missing.
    """
    from ..encoders.remote import connect

    address, token_file = getattr(args, "runs_on", None), getattr(args, "token_file", None)
    if address is None:
        return None
    if token_file is None:
        raise ConfigError(
            "--runs-on needs --token-file; copy the file that 'sampath serve' wrote on the server."
        )
    return connect(address, token_file, args.ca)


def open_image(path: Path, output: Output) -> LoadedImage:
    """Read an image, and write a note if it was converted."""
    from ..images import read

    image = read(path)
    output.note(image.note)
    return image


@contextmanager
def open_image_or_slide(path: Path, output: Output) -> Iterator[LoadedImage]:
    """Open an image or a large slide, and write a note if it was converted; see `images.open_image`."""
    from ..images import open_image

    with open_image(path) as image:
        output.note(image.note)
        yield image


def journal_of(image: Path, pixels: UInt8Array) -> Path:
    """Return the path of an image's journal, which depends on the pixels of the image.

    Raises:
        JournalError: If the image has not been annotated on this machine.
    """
    from ..session import journal_path, sessions_folder

    folder = sessions_folder()
    path = journal_path(pixels, folder)
    if not path.exists():
        raise JournalError(
            f"'{image}' has not been annotated on this machine (no journal in '{folder}'); annotate it first."
        )
    return path


def check_suffix(path: Path, *allowed: str) -> str:
    """Return the lower-case suffix of an output file; call this before any computation.

    Raises:
        OutputNameError: If the suffix is not one of `allowed`.
    """
    suffix = path.suffix.lower()
    if suffix not in allowed:
        raise OutputNameError(f"'{path}' cannot be written: its name must end in {' or '.join(allowed)}.")
    return suffix


def raster_writer(values: np.ndarray[Any, Any], suffix: str, palette: bytes | None = None) -> Write:
    """Return a function that writes an array (H, W) as PNG or compressed TIFF.

    Args:
        values: uint8 or uint16 for PNG, any numeric type for TIFF.
        suffix: ".png", ".tif" or ".tiff".
        palette: Colours of the values 0, 1, 2 ... as RGB bytes, for an indexed PNG.
    """
    if suffix != ".png":
        import tifffile

        return lambda stream: tifffile.imwrite(stream, values, compression="zlib")
    from PIL import Image

    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette)
    return lambda stream: image.save(stream, format="PNG")
