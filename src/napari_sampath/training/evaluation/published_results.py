"""Results of published papers, for comparison with those of `evaluate`.

Scores whose source was not available are None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...registry import lookup


@dataclass(frozen=True, slots=True)
class Paper:
    """A results table of a paper."""

    title: str
    columns: tuple[str, ...]
    """Column headings as in the paper."""
    measured: tuple[str, ...]
    """Score of a report that corresponds to each column: a key of "sampath"; or "per_image", "pooled" or "outlines" and
    a key of its "mean", joined by a dot."""
    rows: Mapping[str, tuple[float | None, ...]]
    """Method -> scores; None if a score of the paper was not available."""
    note: str


_OPTIMISTIC = (
    "The paper's IoU was not available. Its Dice excludes pixels along outlines, and its best epoch was chosen on the "
    "test images, so the Dice is optimistic."
)

PAPERS = {
    "bcss": Paper(
        "SAM-Path, Zhang et al. 2023 (arXiv 2307.09570), Table 1, BCSS",
        ("Dice", "IOU"),
        ("SAM-Path 'Dice' (pixel accuracy)", "SAM-Path 'IOU' (accuracy / (2 - accuracy))"),
        {
            "SAM-Path": (0.7949, 0.6596),
            "fine-tuned SAM (without the pathology encoder)": (0.7562, 0.6080),
            "without the SAM encoder": (0.7813, 0.6411),
        },
        "The paper's Dice is pooled over classes, which equals pixel accuracy, and its IOU is derived from it. Its "
        "validation tiles come from training slides; its test tiles do not.",
    ),
    "crag": Paper(
        "SAM-Path, Zhang et al. 2023 (arXiv 2307.09570), Table 1, CRAG",
        ("Dice", "IOU", "IoU derived from Dice"),
        ("SAM-Path 'Dice' (gland Dice, pooled)", "SAM-Path 'IOU' (gland recall)", "pooled.iou"),
        {
            "SAM-Path": (0.8841, 0.8831, 0.792),
            "fine-tuned SAM (without the pathology encoder)": (0.8414, None, 0.726),
            "without the SAM encoder": (0.8191, None, 0.694),
            "SAM without training, better row": (0.6598, 0.4924, 0.4924),
            "SAM without training, other row": (0.5245, 0.3555, 0.3555),
        },
        "The IOU of the released code is the recall of glands, except for SAM without training; the last column is the "
        "IoU of every method.",
    ),
    "acdc": Paper(
        "AutoSAM, Hu et al. 2023, ACDC",
        ("Dice", "HD95 (voxels)", "ASSD (voxels)"),
        ("per_image.dice", "outlines.hd95_px", "outlines.assd_px"),
        {},
        "The paper's scores were not available. The paper averages over patient volumes; the scores here are averaged "
        "over slices.",
    ),
    "glas": Paper(
        "AutoSAM, Shaharabany et al. 2023 (arXiv 2306.06370), GlaS",
        ("Dice", "IoU"),
        ("per_image.dice", "per_image.iou"),
        {"AutoSAM": (0.9282, None)},
        _OPTIMISTIC,
    ),
    "monuseg": Paper(
        "AutoSAM, Shaharabany et al. 2023 (arXiv 2306.06370), MoNuSeg",
        ("Dice", "IoU"),
        ("per_image.dice", "per_image.iou"),
        {"AutoSAM": (0.8243, None)},
        _OPTIMISTIC,
    ),
}


def paper(name: str) -> Paper:
    """Return the results table of a paper by name; an unknown name raises an `UnknownNameError`."""
    return lookup("paper", PAPERS, name)


def merged_rows(source: Paper, report: Mapping[str, Any]) -> dict[str, tuple[float | None, ...]]:
    """Return the rows of a paper, followed by the corresponding scores of a report."""
    report_rows: dict[str, tuple[float | None, ...]] = {}
    for method, scores in report["scores"].items():
        values = []
        for key in source.measured:
            table, _, metric = key.partition(".")
            if metric:
                values.append(scores[table]["mean"][metric])
            else:
                values.append(report["sampath"].get(key) if method == report["head"] else None)
        report_rows[f"{method}, here"] = tuple(values)
    return {**source.rows, **report_rows}
