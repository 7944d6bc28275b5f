"""What a verb of the command line is, and the arguments that several of them share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import load_config
from ..errors import SampathError
from .output import Output

if TYPE_CHECKING:
    from ..images import LoadedImage
    from ..predict import Model


class OutputNameError(SampathError, ValueError):
    """A file name whose ending says nothing, or something that cannot be written."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that can be done from a shell."""

    summary: str
    """One line for `sampath --help`."""
    example: str
    """Shown by `sampath VERB --help`."""
    arguments: Callable[[argparse.ArgumentParser], None]
    """Declares the verb's own arguments; called only where the verb is."""
    run: Callable[[argparse.Namespace, Output], int | None]
    """Does it; returns the exit code, None for 0."""


def add_model(
    parser: argparse.ArgumentParser, default: str | None = "sampath-tiny", precision: bool = True
) -> None:
    """Declare `--model`, `--weights`, `--precision`; without a default the head says which."""
    group = parser.add_argument_group("model")
    shown = default or "that of the head"
    group.add_argument(
        "--model", default=default, metavar="NAME", help=f"see 'sampath models' (default: {shown})"
    )
    group.add_argument(
        "--weights", type=Path, metavar="FILE", help="weights of your own, or a folder with the official file"
    )
    if precision:
        group.add_argument(
            "--precision",
            default="auto",
            metavar="TYPE",
            help="float32, bfloat16, float16, or auto: what the device gains from (default: %(default)s)",
        )
        group.add_argument(
            "--compile", action="store_true", help="compile the encoder first: minutes once, then quicker"
        )


def load(args: argparse.Namespace, output: Output) -> Model:
    """Load the model that the arguments of `add_model` name, on the device chosen, over the feature store."""
    from ..predict import load_model_job
    from ..store import Store

    config = load_config()
    store = Store.from_config(config)
    compiled = getattr(args, "compile", False)
    return output.run(
        load_model_job(args.model, config.device, args.weights, store, args.precision, compiled)
    )


def open_picture(path: Path, output: Output) -> LoadedImage:
    """Read an image and tell how it was converted, if it was."""
    from ..images import read

    picture = read(path)
    output.note(picture.note)
    return picture


def check_ending(path: Path, *allowed: str) -> str:
    """Return the lower-case ending of a file to be written; called before the work, not after.

    Raises:
        OutputNameError: If it is none of `allowed`.
    """
    ending = path.suffix.lower()
    if ending not in allowed:
        raise OutputNameError(f"'{path}' cannot be written: its name must end in {' or '.join(allowed)}.")
    return ending
