"""Reports of `evaluate`, `evaluate_prompts` and `evaluate_instances` as text tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ...files.messages import plural
from ..data.dataset_report import text_table
from .published_results import Paper, merged_rows

if TYPE_CHECKING:
    from .instance_evaluation import InstanceScore
    from .prompt_evaluation import PromptScore

Table: TypeAlias = tuple[list[str], list[list[str]]]
"""Column headings, and rows of cells."""


def format_report(report: dict[str, Any], compat: bool = False, source: Paper | None = None) -> str:
    """Format a report of `evaluate` as text.

    `compat` adds the metrics of the reference implementation, and `source` the results table of a paper with the
    corresponding scores of the report.
    """
    parts = [
        f"{report['dataset']}, split {report['split']}, {plural(report['images'], 'image')}",
        text_table(*region_table(report)),
        "",
        text_table(*outline_table(report)),
        "",
        f"gain in mean IoU per image over the best constant prediction: {report['gain_iou']:+.3f}",
    ]
    error = report["scores"][report["head"]]["calibration_error"]
    if error is not None:
        parts.append(f"expected calibration error: {error:.3f}")
    if compat:
        parts += ["", "Metrics of the reference implementation:"]
        parts += [f"  {name}: {format_score(value)}" for name, value in report["compat"].items()]
    if source is not None:
        parts += ["", source.title, text_table(*paper_table(source, report)), source.note]
    return "\n".join(parts)


def region_table(report: dict[str, Any]) -> Table:
    """Tabulate Dice, IoU and accuracy, one row per method and class."""
    headings = ["method", "class", "Dice", "IoU", "Dice, pooled", "IoU, pooled", "accuracy"]
    rows = []
    for method, scores in report["scores"].items():
        for name in [*report["classes"], "mean"]:
            image, pooled = scores["per_image"][name], scores["pooled"][name]
            accuracy = format_score(scores["pixel_accuracy"]) if name == "mean" else ""
            cells = (image["dice"], image["iou"], pooled["dice"], pooled["iou"])
            rows.append([method, name, *map(format_score, cells), accuracy])
    return headings, rows


def outline_table(report: dict[str, Any]) -> Table:
    """Tabulate the distances between outlines and the object scores, one row per method and class."""
    headings = ["method", "class", "HD95 px", "ASSD px", "object F1", "AJI", "PQ"]
    rows = []
    for method, scores in report["scores"].items():
        for name, outline in scores["outlines"].items():
            objects = scores["objects"][name]
            distances = [format_score(outline[key], places=1) for key in ("hd95_px", "assd_px")]
            cells = (objects["f1"], objects["aji"], objects["pq"])
            rows.append([method, name, *distances, *map(format_score, cells)])
    return headings, rows


def paper_table(source: Paper, report: dict[str, Any]) -> Table:
    """Tabulate the results of a paper, followed by the corresponding scores of a report."""
    rows = [[method, *map(format_score, values)] for method, values in merged_rows(source, report).items()]
    return ["method", *source.columns], rows


def prompt_table(scores: Sequence[PromptScore]) -> Table:
    """Tabulate prompt scores, one row per kind of object, prompt and method."""
    rows = [
        [
            *(score.kind, score.prompt, score.method, format_score(score.mean), interval(score)),
            f"{score.objects} in {plural(score.images, 'image')} of {plural(score.cases, 'case')}",
        ]
        for score in scores
    ]
    return ["objects", "prompt", "method", "mean", "95 % interval", "count"], rows


def object_table(scores: Sequence[InstanceScore]) -> Table:
    """Tabulate instance scores, one row per kind of object and method."""
    rows = [
        [
            *(score.kind, score.method, *map(format_score, (score.pq, score.f1, score.aji))),
            f"{score.objects} in {plural(score.images, 'image')}",
        ]
        for score in scores
    ]
    return ["objects", "method", "PQ", "F1", "AJI", "count"], rows


def interval(score: PromptScore) -> str:
    """Format the 95 % confidence interval of a score."""
    if score.low is None or score.high is None:
        return "one case"
    return f"{score.low:.3f} to {score.high:.3f}"


def format_score(value: float | None, places: int = 3) -> str:
    """Format a score; "-" for None."""
    return "-" if value is None else f"{value:.{places}f}"
