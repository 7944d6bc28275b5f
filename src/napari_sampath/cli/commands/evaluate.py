"""`sampath evaluate`: scores of a trained head, or of a promptable model, beside plain baselines."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DatasetError, SampathError, WeightsError
from ..output import Output, table
from ..verb import Verb, add_model, check_ending, load
from .dataset import add_data, add_patterns, open_data, open_instances

if TYPE_CHECKING:
    from ...heads import LoadedHead
    from ...predict import Model
    from ...training.data.instances import InstanceImage
    from ...training.evaluation.instance_evaluation import InstanceScore
    from ...training.evaluation.prompt_evaluation import PromptScore


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath evaluate`."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--head", metavar="NAME", help="see 'sampath models', or a bundle file")
    what.add_argument(
        "--prompts", action="store_true", help="prompt every object by its box and by a point, with --model"
    )
    add_data(parser)
    add_patterns(parser)
    parser.add_argument(
        "--split", default="val", metavar="NAME", help="train, val or test (default: %(default)s)"
    )
    parser.add_argument(
        "--card", type=Path, metavar="FILE", help="with --prompts: write the model card there"
    )
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="HEAD",
        help="with --card: score this head, too, beside those in the package, on the data that it was trained on",
    )
    parser.add_argument(
        "--clicks",
        type=_count,
        default=0,
        metavar="COUNT",
        help="with --prompts: correct so many objects of each tile by points until IoU 0.80, and count the points",
    )
    parser.add_argument(
        "--closer",
        action="store_true",
        help="with --prompts: also on tiles of half the side, as prompts are answered for who has zoomed in",
    )
    parser.add_argument(
        "--colours",
        type=_factor,
        nargs="+",
        default=[],
        metavar="FACTOR",
        help="with --prompts: also on images with saturation and brightness multiplied by this and the hue turned",
    )
    parser.add_argument(
        "--objects",
        action="append",
        default=[],
        metavar="HEAD",
        help="with --prompts: find the objects of this head's classes with it and the model, and score PQ, F1 and AJI",
    )
    parser.add_argument(
        "--max-images",
        type=int,
        default=0,
        metavar="COUNT",
        help="score so many images only, drawn evenly over kinds of tissue and cases",
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="with --head: write a report with pictures there"
    )
    parser.add_argument(
        "--compat",
        action="store_true",
        help="with --head: add the metrics of the reference that published the kind of head, by what they measure",
    )
    parser.add_argument(
        "--paper", metavar="NAME", help="with --head: add a paper's table (bcss, crag, acdc, glas, monuseg)"
    )
    add_model(parser, default=None)


def run(args: argparse.Namespace, output: Output) -> None:
    """Score what was asked for."""
    if args.prompts:
        _prompts(args, output)
    else:
        _head(args, output)


def _head(args: argparse.Namespace, output: Output) -> None:
    from ...heads import load_head
    from ...training import evaluate_job, format_report
    from ...training.evaluation.html_report import write_html_job
    from ...training.evaluation.published_results import beside, paper

    source = paper(args.paper) if args.paper else None
    if args.html is not None:
        check_ending(args.html, ".html")
    dataset = open_data(args, args.data)
    head = load_head(args.head)
    args.model = args.model or head.encoder_name
    model = load(args, output)
    report = output.run(evaluate_job(dataset, head, args.split, model, args.max_images))
    if source is not None:
        report["paper"] = {"title": source.title, "columns": source.columns, "rows": beside(source, report)}
    if args.html is not None:
        output.run(write_html_job(args.html, report, dataset, head, model, source))
        output.note(f"Wrote {args.html}.")
    output.result(report, format_report(report, args.compat, source))


def _prompts(args: argparse.Namespace, output: Output) -> None:
    from benchmarks.model_card import write_model_card

    from ...encoders.tiny import tiny
    from ...heads import list_bundles, load_head
    from ...training.data.dataset import draw_evenly
    from ...training.evaluation.failures import WorstAnswers
    from ...training.evaluation.instance_evaluation import evaluate_instances
    from ...training.evaluation.prompt_evaluation import evaluate_prompts

    args.model = args.model or tiny.INFO.name
    shipped = tiny.SAMPATH_TINY.weights if args.model == tiny.INFO.name else None
    weights: Path | None = args.weights or shipped
    if args.card is not None and (weights is None or shipped is None):
        raise WeightsError(f"A model card is of {tiny.INFO.name}; leave --card out for '{args.model}'.")
    images = draw_evenly(
        open_instances(args, args.split),
        args.max_images,
        0,
        lambda one: (one.kind.name, one.case or one.name),
    )
    model = load(args, output)
    # Before the prompts, which take long: a head that does not fit is found out now.
    beside = [load_head(name) for name in args.beside]
    by_head = [(head, _images_of(head, model, images)) for head in map(load_head, args.objects)]
    worst = WorstAnswers()
    scores = output.run(evaluate_prompts(model, images, args.clicks, tuple(args.colours), worst, args.closer))
    told_apart = [one for head, own in by_head for one in output.run(evaluate_instances(model, head, own))]
    reports = []
    if args.card is not None and weights is not None:
        ours = shipped is not None and weights.samefile(shipped) and not args.images
        packaged = [load_head(name) for name in list_bundles()] if ours else []
        known = [head for head in packaged if _data_of(head, args).is_dir()]
        reports = _score_heads([*known, *beside], args, model, output)
        write_model_card(args.card, weights, scores, reports, worst, told_apart)
        output.note(f"Wrote {args.card}.")
    told = {
        "split": args.split,
        "scores": [dataclasses.asdict(one) for one in scores],
        "objects": [dataclasses.asdict(one) for one in told_apart],
        "heads": reports,
    }
    output.result(told, _tables(scores, told_apart))


def _tables(scores: list[PromptScore], told_apart: list[InstanceScore]) -> str:
    """Write the scores of prompts, and below them those of objects if there are any."""
    from benchmarks.model_card import interval

    from ...training.evaluation.report import figure

    rows = [
        [
            *(one.kind, one.prompt, one.method, f"{one.mean:.3f}", interval(one)),
            f"{one.objects} in {one.images} images of {one.cases} cases",
        ]
        for one in scores
    ]
    text = table(["OBJECTS", "PROMPT", "METHOD", "MEAN", "95 %", "COUNT"], rows)
    if not told_apart:
        return text
    figures = [
        [
            *(one.kind, one.method, figure(one.pq), figure(one.f1), figure(one.aji)),
            f"{one.objects} in {one.images} images",
        ]
        for one in told_apart
    ]
    return f"{text}\n\n{table(['OBJECTS', 'METHOD', 'PQ', 'F1', 'AJI', 'COUNT'], figures)}"


def _images_of(head: LoadedHead, model: Model, images: list[InstanceImage]) -> list[InstanceImage]:
    """Choose the images of a collection whose kind the head knows; all of any other dataset."""
    from ...predict.segmentation import check_match
    from ...training.data.instances import SETS

    check_match(head, model)
    kinds = {source.kind.name for source in SETS}
    known = {one.name for one in head.classes if one.id > 0}
    fitting = [image for image in images if image.kind.name in known or image.kind.name not in kinds]
    if not fitting:
        raise DatasetError(
            f"'{head.name}' knows {', '.join(sorted(known))}, and there are images of "
            f"{', '.join(sorted({image.kind.name for image in images}))}; name a head that knows one of these."
        )
    return fitting


def _score_heads(
    heads: list[LoadedHead], args: argparse.Namespace, model: Model, output: Output
) -> list[dict[str, Any]]:
    """Score heads, each on the data that it was trained on."""
    from ...training import evaluate_job

    reports = []
    for head in heads:
        own = _data_of(head, args)
        fitting = model if model.name == head.encoder_name else None
        # The prompts took long to score: a head that does not fit must not lose them.
        try:
            reports.append(output.run(evaluate_job(own, head, args.split, fitting, args.max_images)))
        except SampathError as error:
            output.note(f"'{head.name}' is not on the card: {error}")
    return reports


def _data_of(head: LoadedHead, args: argparse.Namespace) -> Path:
    """Return the folder among those named with --data that a head was trained on."""
    return Path(args.data) / str(head.metadata.data.get("name"))


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no number of objects; give 0 or more")
    return int(text)


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.5 <= value <= 2:
        raise argparse.ArgumentTypeError(
            f"{text} is no such factor; give a factor from 0.5 to 2, such as 0.8 or 1.2"
        )
    return value


VERB = Verb(
    "score a trained head or a promptable model, beside plain baselines",
    "sampath evaluate --head my-head.safetensors --data tissue/ebhi_glands",
    arguments,
    run,
)
