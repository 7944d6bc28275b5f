"""`sampath evaluate`: score a trained head or a promptable model, and compare it with baselines."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DatasetError
from ..output import Output
from ..subcommand import Subcommand, add_model, check_suffix, load
from .dataset import add_data, add_patterns, open_data, open_instances

if TYPE_CHECKING:
    from ...heads import LoadedHead
    from ...predict import Model
    from ...training.data.instances import InstanceImage
    from ...training.evaluation.failures import WorstPredictions
    from ...training.evaluation.instance_evaluation import InstanceScore
    from ...training.evaluation.prompt_evaluation import PromptScore


@dataclass(frozen=True, slots=True)
class ModelScores:
    """Scores of a promptable model."""

    prompts: list[PromptScore]
    objects: list[InstanceScore]

    def as_dict(self, split: str) -> dict[str, object]:
        """Return the scores as JSON-serialisable values."""
        return {
            "split": split,
            "scores": [dataclasses.asdict(score) for score in self.prompts],
            "objects": [dataclasses.asdict(score) for score in self.objects],
        }

    def as_text(self) -> str:
        """Return the scores as tables."""
        from ...training.data.dataset_report import text_table
        from ...training.evaluation.report import object_table, prompt_table

        text = text_table(*prompt_table(self.prompts))
        return f"{text}\n\n{text_table(*object_table(self.objects))}" if self.objects else text


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath evaluate`."""
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument(
        "--head", metavar="NAME", help="trained head: a name from 'sampath models', or a bundle file"
    )
    subject.add_argument(
        "--prompts",
        action="store_true",
        help="evaluate a promptable model (--model, default: sampath-tiny) instead of a head: segment every object "
        "from its box and from a point",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="with --head: write a report with images")
    parser.add_argument(
        "--compat",
        action="store_true",
        help="with --head: add the metrics of the paper that published this kind of head",
    )
    parser.add_argument(
        "--paper",
        metavar="NAME",
        help="with --head: add the published results of a paper (bcss, crag, acdc, glas, monuseg)",
    )
    add_prompt_arguments(parser)


def add_prompt_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that choose the data, the model and the scores of `score_prompts`."""
    add_data(parser)
    add_patterns(parser)
    parser.add_argument(
        "--split",
        default="val",
        metavar="NAME",
        help="split to score: train, val or test (default: %(default)s)",
    )
    parser.add_argument(
        "--max-images",
        type=int,
        default=0,
        metavar="COUNT",
        help="score at most this many images, sampled evenly over kinds of tissue and cases (default: all)",
    )
    group = parser.add_argument_group("scores of a promptable model")
    group.add_argument(
        "--clicks",
        type=_count,
        default=0,
        metavar="COUNT",
        help="correct COUNT objects per tile with points, and report how many points each needs to reach IoU 0.80",
    )
    group.add_argument(
        "--high-resolution", "--closer", action="store_true", help="also score high-resolution tiles"
    )
    group.add_argument(
        "--colours",
        type=_factor,
        nargs="+",
        default=[],
        metavar="FACTOR",
        help="also score images with saturation and brightness multiplied by FACTOR and a shifted hue",
    )
    group.add_argument(
        "--objects",
        action="append",
        default=[],
        metavar="HEAD",
        help="also segment the objects of this head's classes, and report PQ, F1 and AJI; may be repeated",
    )
    add_model(parser, default=None)


def run(args: argparse.Namespace, output: Output) -> None:
    """Score a head or a model."""
    if args.prompts:
        _, scores = score_prompts(args, output)
        output.result(scores.as_dict(args.split), scores.as_text())
    else:
        _score_head(args, output)


def _score_head(args: argparse.Namespace, output: Output) -> None:
    from ...heads import load_head
    from ...training import evaluate_job, format_report
    from ...training.evaluation.html_report import write_html_job
    from ...training.evaluation.published_results import merged_rows, paper

    source = paper(args.paper) if args.paper else None
    if args.html is not None:
        check_suffix(args.html, ".html")
    dataset = open_data(args, args.data)
    head = load_head(args.head)
    args.model = args.model or head.encoder_name
    model = load(args, output)
    report = output.run(evaluate_job(dataset, head, args.split, model, args.max_images))
    if source is not None:
        report["paper"] = {
            "title": source.title,
            "columns": source.columns,
            "rows": merged_rows(source, report),
        }
    if args.html is not None:
        output.run(write_html_job(args.html, report, dataset, head, model, source))
        output.note(f"Wrote {args.html}.")
    output.result(report, format_report(report, args.compat, source))


def score_prompts(
    args: argparse.Namespace, output: Output, worst: WorstPredictions | None = None
) -> tuple[Model, ModelScores]:
    """Load and score a promptable model.

    Args:
        args: Parsed arguments of `add_prompt_arguments`.
        output: Shows progress.
        worst: Collects the worst predictions, if given.
    """
    from ...encoders.tiny import tiny
    from ...heads import load_head
    from ...training.data.dataset import choose_evenly
    from ...training.evaluation.instance_evaluation import evaluate_instances
    from ...training.evaluation.prompt_evaluation import evaluate_prompts

    args.model = args.model or tiny.INFO.name
    images = choose_evenly(
        open_instances(args, args.split),
        args.max_images,
        0,
        lambda image: (image.kind.name, image.case or image.name),
    )
    model = load(args, output)
    # Select images first, so that an unsuitable head fails before the slow evaluation of the prompts.
    by_head = [(head, _images_of(head, model, images)) for head in map(load_head, args.objects)]
    colours = tuple(args.colours)
    prompts = output.run(evaluate_prompts(model, images, args.clicks, colours, worst, args.high_resolution))
    objects = [score for head, own in by_head for score in output.run(evaluate_instances(model, [head], own))]
    return model, ModelScores(prompts, objects)


def _images_of(head: LoadedHead, model: Model, images: list[InstanceImage]) -> list[InstanceImage]:
    """Return the images to evaluate a head on.

    Images of the tissue collection are included only if their kind is a class of the head.
    """
    from ...predict.segmentation import check_match
    from ...training.data.instances import SETS

    check_match(head, model)
    collection = {source.kind.name for source in SETS}
    classes = {info.name for info in head.classes if info.id > 0}
    own = [image for image in images if image.kind.name in classes or image.kind.name not in collection]
    if not own:
        raise DatasetError(
            f"'{head.name}' has the classes {', '.join(sorted(classes))}, but the images show only "
            f"{', '.join(sorted({image.kind.name for image in images}))}; choose a head for these objects."
        )
    return own


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a number of objects; give 0 or a larger integer")
    return int(text)


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.5 <= value <= 2:
        raise argparse.ArgumentTypeError(
            f"{text} is not an allowed factor; give a number from 0.5 to 2, such as 0.8 or 1.2"
        )
    return value


SUBCOMMAND = Subcommand(
    "score a trained head or a promptable model, compared with baselines",
    "sampath evaluate --head my-head.safetensors --data tissue/ebhi_glands",
    arguments,
    run,
)
