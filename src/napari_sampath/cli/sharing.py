"""Flags that share the work of a command between processes and machines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import load_config
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..cluster import ModelSpec

ALL = "1/1"


def add_sharing(parser: argparse._ActionsContainer, unit: str) -> None:
    """Declare `--part` and `--scheduler`.

    Args:
        parser: The parser, or a group of it.
        unit: What is shared, in the singular.
    """
    parser.add_argument(
        "--part",
        default=ALL,
        metavar="I/N",
        help=f"compute the I-th of N shares of the {unit}s: N processes, or the tasks of an array job, share the work",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help=f"compute each {unit} on a worker of this dask scheduler, such as tcp://host:8786; all machines must see "
        "the same folders",
    )


def part_of(text: str) -> tuple[int, int]:
    """Parse the value of `--part`.

    Raises:
        ConfigError: If it is not such as 3/8.
    """
    number, slash, total = text.partition("/")
    if not (slash and number.isdecimal() and total.isdecimal() and int(total)):
        raise ConfigError(f"--part is '{text}'; give a number and a count, such as 3/8.")
    if not 1 <= int(number) <= int(total):
        raise ConfigError(f"The part {text} does not exist; give a number from 1 to {int(total)}.")
    return int(number), int(total)


def model_spec(args: argparse.Namespace) -> ModelSpec:
    """Return the model that the arguments of `add_model` select, for workers.

    Raises:
        ConfigError: If a flag is given that workers do not use.
    """
    from ..cluster import ModelSpec

    for name in ("runs_on", "compile"):
        if getattr(args, name):
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"The workers of --scheduler do not use {flag}; remove one of these flags.")
    weights = None if args.weights is None else str(args.weights.expanduser().absolute())
    return ModelSpec(args.model, weights, load_config().device, args.precision)


def paths_on_workers(args: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments of a run for workers, which have another working folder: with absolute paths."""
    bundle = Path(args.head).expanduser()
    own = {
        "image": args.image.absolute(),
        "output": args.output.absolute(),
        "head": str(bundle.absolute()) if bundle.is_file() else args.head,
    }
    return argparse.Namespace(**vars(args) | own)
