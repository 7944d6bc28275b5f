"""`sampath tune`: train what `segment` and `prompt` use."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..config import load_config, resolve_device
from .fields import add_fields, from_args
from .output import Output
from .verb import Verb, check_ending


def add_data(parser: argparse.ArgumentParser) -> None:
    """Declare `--data`."""
    folder = os.environ.get("SAMPATH_DATA")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        default=folder and Path(folder),
        required=folder is None,
        help="folder with the tissue images (environment: SAMPATH_DATA)",
    )


def tune_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath tune`: the fields of `PromptTuningConfig`."""
    from ..training.prompt_tuning import PromptTuningConfig

    add_data(parser)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="weights to write, .safetensors"
    )
    parser.add_argument(
        "--start", type=Path, metavar="FILE", help="weights to start from; random if left out"
    )
    add_fields(parser, PromptTuningConfig, "recipe", leave_out=("device",))


def run_tune(args: argparse.Namespace, output: Output) -> None:
    """Train a promptable model by SAM's own algorithm."""
    from ..training.prompt_tuning import PromptTuningConfig
    from ..training.tune import read_facts, tune_model

    check_ending(args.output, ".safetensors")
    args.device = str(resolve_device(load_config().device))
    config = from_args(PromptTuningConfig, args)
    written = output.run(tune_model(args.data, args.output, config, args.start))
    output.result({"weights": str(written), **read_facts(written)}, f"Wrote {written}.")


TUNE = Verb(
    "train a promptable model on tissue by SAM's own algorithm",
    "sampath tune --data tissue/ --steps 2500 -o my-model.safetensors",
    tune_arguments,
    run_tune,
)
