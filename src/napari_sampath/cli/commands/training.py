"""`sampath train` and `sampath tune`: train heads and promptable models."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from ...config import load_config, resolve_device
from ...errors import ConfigError
from ...files import parse_json
from ..fields import add_fields, from_args
from ..output import Output
from ..subcommand import Subcommand, add_model, add_output, check_suffix, load
from .dataset import add_data, add_patterns, open_data, open_instances


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath train`: the fields of `TrainingConfig`."""
    from ...training import PRESETS, TrainingConfig

    add_data(parser)
    parser.add_argument(
        "--also",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="also train on the training images of this dataset, which must have the same class names; may be repeated",
    )
    add_patterns(parser)
    add_output(parser, "bundle to write, .safetensors")
    sources = "; ".join(
        f"{name}: {preset.source} (--head {preset.head}, published with --model {preset.model})"
        for name, preset in PRESETS.items()
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help=f"configuration of a paper; the flags below override its values. {sources}".replace("%", "%%"),
    )
    parser.add_argument(
        "--head",
        metavar="KIND",
        help="kind of head, see 'sampath models' (default: the head of the recipe, or cnn)",
    )
    repeated: dict[str, Any] = {
        "action": "append",
        "default": [],
        "type": _assignment,
        "metavar": "NAME=VALUE",
    }
    parser.add_argument(
        "--head-argument", **repeated, help="argument of the head, such as depth=3; may be repeated"
    )
    parser.add_argument(
        "--loss-argument", **repeated, help="argument of the loss, such as dice_weight=0.5; may be repeated"
    )
    add_model(parser)
    add_fields(parser, TrainingConfig, "recipe")


def run_train(args: argparse.Namespace, output: Output) -> None:
    """Train a head."""
    from ...heads import load_head
    from ...training import TrainingConfig, join_datasets, open_dataset, train_job
    from ...training.evaluation.report import format_score
    from ...training.heads.presets import find_preset

    check_suffix(args.output, ".safetensors")
    base, default = TrainingConfig(), "cnn"
    if args.recipe:
        published = find_preset(args.recipe)
        base, default = published.config, published.head
    kind = args.head or default
    published_arguments = base.head_arguments if kind == default else {}
    args.head_arguments = {**published_arguments, **dict(args.head_argument)}
    args.loss_arguments = {**base.loss_arguments, **dict(args.loss_argument)}
    config = from_args(TrainingConfig, args, base)
    is_first = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
    if not is_first:
        output = Output(quiet=True)
    dataset = join_datasets(open_data(args, args.data), [open_dataset(folder) for folder in args.also])
    model = load(args, output)
    path = output.run(train_job(dataset, kind, config, model, args.output))
    if not is_first:  # Only one process prints the result.
        return
    metrics = load_head(path).metadata.metrics
    is_measured = not str(metrics["chosen_on"]).startswith("train")
    lines = [
        f"Wrote {path}. Mean over classes and images, on {metrics['chosen_on']}:"
        if is_measured
        else f"Wrote {path}. Its quality is not measured, because all images show one slide or case; add another one."
    ]
    for name, scores in metrics.items():
        if is_measured and isinstance(scores, dict):
            mean = scores["per_image"]["mean"]
            lines.append(f"  {name}: IoU {format_score(mean['iou'])}, Dice {format_score(mean['dice'])}")
    output.result({"bundle": str(path), "metrics": metrics}, "\n".join(lines))


def _assignment(text: str) -> tuple[str, int | float | bool | str]:
    """Parse NAME=VALUE; a value other than a number, true or false is a string."""
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise ValueError(text)
    try:
        parsed = parse_json(value)
    except ValueError:
        return name, value
    return name, parsed if isinstance(parsed, int | float | bool) else value


def tune_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath tune`: the fields of `PromptTuningConfig`."""
    from ...encoders.tiny import tiny
    from ...training.prompts.config import RECIPES, PromptTuningConfig

    add_data(parser, required=False)
    parser.add_argument(
        "--from-dataset",
        type=Path,
        metavar="FOLDER",
        help="instead of --data: learn from the objects that you annotated in this project or dataset with their "
        "recorded prompts, as the Annotate tab does, and save the decoder in its folder 'decoders'; of the flags "
        "below, only --model, --start, --rounds, --steps and --output apply",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        metavar="N",
        help="largest number of rounds with --from-dataset; each is kept only if objects that are held back need no "
        "more clicks (default: %(default)s)",
    )
    add_patterns(parser)
    add_output(parser, "weights to write, .safetensors; optional with --from-dataset", required=False)
    parser.add_argument(
        "--model",
        default=tiny.INFO.name,
        metavar="NAME",
        help="a promptable model, or sampath-tiny-path with the recipe dense (default: %(default)s)",
    )
    parser.add_argument(
        "--start",
        metavar="FILE",
        help="initial weights of the model, or 'random' (default: 'random' for the recipes pretrain and dense, "
        "otherwise the published weights)",
    )
    parser.add_argument(
        "--merge",
        nargs="+",
        default=[],
        metavar="FILE",
        help="more weights of the model, from earlier stages or other runs; training starts from the mean of all",
    )
    sources = "; ".join(f"{name}: {source}" for name, (source, _) in RECIPES.items())
    parser.add_argument(
        "--recipe",
        default="finetune",
        metavar="NAME",
        help=f"configuration; the flags below override its values. {sources} (default: %(default)s)",
    )
    add_fields(parser, PromptTuningConfig, "recipe", leave_out=("device",))


def run_tune(args: argparse.Namespace, output: Output) -> None:
    """Train a promptable model with SAM's algorithm, or adapt it to a dataset."""
    if args.from_dataset is not None:
        _adapt(args, output)
        return
    missing = [flag for flag, value in (("--data", args.data), ("--output", args.output)) if value is None]
    if missing:
        raise ConfigError(f"{missing[0]} is missing; give it, or --from-dataset with a project or dataset.")
    from ...encoders.tiny import tiny
    from ...training.prompts.config import PromptTuningConfig, recipe
    from ...training.prompts.tune import RANDOM, read_training_record, tune_model

    check_suffix(args.output, ".safetensors")
    args.device = str(resolve_device(load_config().device))
    config = from_args(PromptTuningConfig, args, recipe(args.recipe))
    start = args.start or (RANDOM if args.recipe != "finetune" and args.model in tiny.MODELS else None)
    job = tune_model(open_instances(args, "train"), args.output, config, args.model, start, args.merge)
    written = output.run(job)
    record = read_training_record(written)
    output.result(
        {"weights": str(written), **record},
        f"Wrote {written}. Use it with --model {args.model} --weights {written}.",
    )


def _adapt(args: argparse.Namespace, output: Output) -> None:
    """Adapt a promptable model to the objects of a dataset."""
    from ...predict import load_model_job
    from ...store import Store
    from ...training.prompts.adaptation.adapt import AdaptationConfig
    from ...training.prompts.adaptation.dataset import adapt_to_dataset_job, save_adapted

    if args.output is not None:
        check_suffix(args.output, ".safetensors")
    if args.rounds < 1:
        raise ConfigError(f"--rounds is {args.rounds}; give at least 1.")
    config = load_config()
    model = output.run(load_model_job(args.model, config.device, args.start, Store.from_config(config)))
    settings = AdaptationConfig() if args.steps is None else AdaptationConfig(steps=args.steps)
    record = output.run(adapt_to_dataset_job(args.from_dataset, model, settings, args.rounds))
    if record is None:
        output.result(
            {"adapted": None},
            f"{args.model} was not adapted: held-back objects of '{args.from_dataset}' would need more clicks. "
            "Annotate more objects.",
        )
        return
    written = ""
    if args.output is not None:
        save_adapted(model, args.output)
        written = f" Wrote {args.output}; use it with --model {args.model} --weights {args.output}."
    output.result(
        {"adapted": dataclasses.asdict(record), "weights": str(args.output) if written else None},
        f"{args.model} is {record.text}, measured on {record.held_back} held-back objects.{written}",
    )


TRAIN = Subcommand(
    "train a head on images with label maps",
    "sampath train --data tissue/ebhi_glands --head cnn --epochs 20 -o my-head.safetensors",
    train_arguments,
    run_train,
)
TUNE = Subcommand(
    "fine-tune a promptable model on your tissue with SAM's training algorithm",
    "sampath tune --data my-nuclei/ -o my-model.safetensors",
    tune_arguments,
    run_tune,
)
