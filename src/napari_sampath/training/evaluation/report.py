"""Reports of `evaluate`, `evaluate_prompts` and `evaluate_instances` as tables of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..data.dataset_report import text_table
from .published_results import Paper, merged_rows

if TYPE_CHECKING:
    from .instance_evaluation import InstanceScore
    from .prompt_evaluation import PromptScore

Table: TypeAlias = tuple[list[str], list[list[str]]]
"""Headings and rows."""


def format_report(report: dict[str, Any], compat: bool = False, source: Paper | None = None) -> str:
    """Format a report of `evaluate` as text.

    `compat` adds the metrics of the reference implementation, `source` the table of a paper with the matching scores.
    """
    parts = [
        f"{report['dataset']}, split {report['split']}, {report['images']} images",
        text_table(*region_table(report)),
        "",
        text_table(*outline_table(report)),
        "",
        f"mean IoU per image above the best constant prediction: {report['gain_iou']:+.3f}",
    ]
    error = report["scores"][report["head"]]["calibration_error"]
    if error is not None:
        parts.append(f"expected calibration error: {error:.3f}")
    if compat:
        parts += ["", "Metrics of the reference implementation:"]
        parts += [f"  {name}: {figure(value)}" for name, value in report["compat"].items()]
    if source is not None:
        parts += ["", source.title, text_table(*paper_table(source, report)), source.note]
    return "\n".join(parts)


def region_table(report: dict[str, Any]) -> Table:
    """Return Dice, IoU and accuracy, one row per method and class."""
    headings = ["method", "class", "Dice", "IoU", "Dice, pooled", "IoU, pooled", "accuracy"]
    rows = []
    for method, scores in report["scores"].items():
        for name in [*report["classes"], "mean"]:
            image, pooled = scores["per_image"][name], scores["pooled"][name]
            accuracy = figure(scores["pixel_accuracy"]) if name == "mean" else ""
            cells = (image["dice"], image["iou"], pooled["dice"], pooled["iou"])
            rows.append([method, name, *map(figure, cells), accuracy])
    return headings, rows


def outline_table(report: dict[str, Any]) -> Table:
    """Return the distances between outlines and the scores of matched objects, one row per method and class."""
    headings = ["method", "class", "HD95 px", "ASSD px", "object F1", "AJI", "PQ"]
    rows = []
    for method, scores in report["scores"].items():
        for name, outline in scores["outlines"].items():
            objects = scores["objects"][name]
            distances = [figure(outline[key], places=1) for key in ("hd95_px", "assd_px")]
            rows.append([method, name, *distances, *(figure(objects[key]) for key in ("f1", "aji", "pq"))])
    return headings, rows


def paper_table(source: Paper, report: dict[str, Any]) -> Table:
    """Return a paper's table with the scores of a report appended."""
    rows = [[method, *map(figure, values)] for method, values in merged_rows(source, report).items()]
    return ["method", *source.columns], rows


def prompt_table(scores: Sequence[PromptScore]) -> Table:
    """Return one row per kind of object, prompt and method."""
    rows = [
        [
            *(score.kind, score.prompt, score.method, figure(score.mean), interval(score)),
            f"{score.objects} in {score.images} images of {score.cases} cases",
        ]
        for score in scores
    ]
    return ["objects", "prompt", "method", "mean", "95 % interval", "count"], rows


def object_table(scores: Sequence[InstanceScore]) -> Table:
    """Return one row per kind of object and method."""
    rows = [
        [
            *(score.kind, score.method, figure(score.pq), figure(score.f1), figure(score.aji)),
            f"{score.objects} in {score.images} images",
        ]
        for score in scores
    ]
    return ["objects", "method", "PQ", "F1", "AJI", "count"], rows


def interval(score: PromptScore) -> str:
    """Format the 95 % interval of a score."""
    if score.low is None or score.high is None:
        return "one case"
    return f"{score.low:.3f} to {score.high:.3f}"


def figure(value: float | None, places: int = 3) -> str:
    """Format a score; "-" for None."""
    return "-" if value is None else f"{value:.{places}f}"
