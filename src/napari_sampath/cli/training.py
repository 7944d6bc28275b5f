"""`sampath train` and `sampath tune`: make what `segment` and `prompt` use."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from ..config import load_config, resolve_device
from .dataset import add_data, add_patterns, open_data
from .fields import add_fields, from_args
from .output import Output
from .verb import Verb, add_model, check_ending, load


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath train`: the fields of `TrainingConfig`."""
    from ..training import PRESETS, TrainingConfig

    add_data(parser)
    add_patterns(parser)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="bundle, .safetensors"
    )
    sources = "; ".join(f"{name}: {source}" for name, (source, _) in PRESETS.items())
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help=f"start from the recipe of a paper; the flags below change it. {sources}".replace("%", "%%"),
    )
    parser.add_argument(
        "--head", default="cnn", metavar="KIND", help="see 'sampath models' (default: %(default)s)"
    )
    parser.add_argument(
        "--head-argument",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="argument of that kind of head, such as depth=3",
    )
    parser.add_argument(
        "--loss-argument",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="argument of the loss, such as dice_weight=0.5",
    )
    add_model(parser)
    add_fields(parser, TrainingConfig, "recipe")


def run_train(args: argparse.Namespace, output: Output) -> None:
    """Train a head on features that are computed once."""
    from ..heads import load_head
    from ..training import TrainingConfig, preset, train_job
    from ..training.report import figure

    check_ending(args.output, ".safetensors")
    base = preset(args.recipe) if args.recipe else TrainingConfig()
    args.head_arguments = {**base.head_arguments, **dict(args.head_argument)}
    args.loss_arguments = {**base.loss_arguments, **dict(args.loss_argument)}
    config = from_args(TrainingConfig, args, base)
    first = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
    if not first:
        output = Output(quiet=True)
    dataset = open_data(args, args.data)
    model = load(args, output)
    path = output.run(train_job(dataset, args.head, config, model, args.output))
    if not first:  # The other processes of one training would say the same.
        return
    metrics = load_head(path).metadata.metrics
    lines = [f"Wrote {path}. Mean of the classes per image, on {metrics['chosen_on']}:"]
    for name, scores in metrics.items():
        if isinstance(scores, dict):
            mean = scores["per_image"]["mean"]
            lines.append(f"  {name}: IoU {figure(mean['iou'])}, Dice {figure(mean['dice'])}")
    output.result({"bundle": str(path), "metrics": metrics}, "\n".join(lines))


def _assignment(text: str) -> tuple[str, int | float | bool | str]:
    """Read NAME=VALUE; a value that is no number, true or false is text."""
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise ValueError(text)
    try:
        read = json.loads(value)
    except ValueError:
        return name, value
    return name, read if isinstance(read, int | float | bool) else value


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


TRAIN = Verb(
    "train a head on images with label maps",
    "sampath train --data tissue/ebhi_glands --head cnn --epochs 20 -o my-head.safetensors",
    train_arguments,
    run_train,
)
TUNE = Verb(
    "train a promptable model on tissue by SAM's own algorithm",
    "sampath tune --data tissue/ --steps 2500 -o my-model.safetensors",
    tune_arguments,
    run_tune,
)
