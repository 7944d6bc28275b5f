"""A report of `evaluate` as text: tables that fit a terminal."""

from __future__ import annotations

from typing import Any

from ..data.dataset_report import text_table
from .published_results import Paper, beside


def format_report(report: dict[str, Any], compat: bool = False, source: Paper | None = None) -> str:
    """Write a report as tables.

    Args:
        report: What `evaluate` returned.
        compat: Add the references' own metrics.
        source: Add the table of a paper, beside our figures of the same meaning.
    """
    parts = [
        f"{report['dataset']}, split {report['split']}, {report['images']} images",
        text_table(*region_table(report)),
        "",
        text_table(*outline_table(report)),
        "",
        f"mean IoU per image above the best constant answer: {report['gain_iou']:+.3f}",
    ]
    error = report["scores"][report["head"]]["calibration_error"]
    if error is not None:
        parts.append(f"expected calibration error: {error:.3f}")
    if compat:
        parts += ["", "The reference's own metrics:"]
        parts += [f"  {name}: {figure(value)}" for name, value in report["compat"].items()]
    if source is not None:
        parts += ["", source.title, text_table(*paper_table(source, report)), source.note]
    return "\n".join(parts)


def region_table(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of Dice, IoU and accuracy, a row for each method and class."""
    headings = ["method", "class", "Dice", "IoU", "Dice, pooled", "IoU, pooled", "accuracy"]
    rows = []
    for method, scores in report["scores"].items():
        for name in [*report["classes"], "mean"]:
            image, pooled = scores["per_image"][name], scores["pooled"][name]
            accuracy = figure(scores["pixel_accuracy"]) if name == "mean" else ""
            cells = (image["dice"], image["iou"], pooled["dice"], pooled["iou"])
            rows.append([method, name, *map(figure, cells), accuracy])
    return headings, rows


def outline_table(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of distances between outlines and of matched objects."""
    headings = ["method", "class", "HD95 px", "ASSD px", "object F1", "AJI", "PQ"]
    rows = []
    for method, scores in report["scores"].items():
        for name in [*scores["outlines"]]:
            outline, objects = scores["outlines"][name], scores["objects"][name]
            distances = [_distance(outline[key]) for key in ("hd95_px", "assd_px")]
            rows.append([method, name, *distances, *(figure(objects[key]) for key in ("f1", "aji", "pq"))])
    return headings, rows


def paper_table(source: Paper, report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of a paper's table with our figures below."""
    rows = [[method, *map(figure, values)] for method, values in beside(source, report).items()]
    return ["method", *source.columns], rows


def figure(value: float | None) -> str:
    """Write a share to three places; "-" where there is none."""
    return "-" if value is None else f"{value:.3f}"


def _distance(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
