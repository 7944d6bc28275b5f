"""What the papers report, to print beside our own figures.

Only figures that are in a text at hand are here; where there is none, the table says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...registry import lookup


@dataclass(frozen=True, slots=True)
class Paper:
    """A table of a paper."""

    title: str
    columns: tuple[str, ...]
    """As the paper names them."""
    measured: tuple[str, ...]
    """For each column where our figure of the same meaning is: a key of "sampath", or of "per_image", "pooled" or
    "outlines" and its mean, joined by a dot."""
    rows: Mapping[str, tuple[float | None, ...]]
    """Method -> its figures; None where the paper's figure is not at hand."""
    note: str


_FLATTERED = (
    "Their IoU is not in a text at hand. Their Dice leaves out the pixels along outlines, and their best epoch was "
    "chosen on the test images: it flatters."
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
        "Their Dice is pooled over classes, which is pixel accuracy, and their IOU follows from it. Their validation "
        "tiles are of slides that they also train on; their test tiles are not.",
    ),
    "crag": Paper(
        "SAM-Path, Zhang et al. 2023 (arXiv 2307.09570), Table 1, CRAG",
        ("Dice", "IOU", "IoU that follows from Dice"),
        ("SAM-Path 'Dice' (gland Dice, pooled)", "SAM-Path 'IOU' (gland recall)", "pooled.iou"),
        {
            "SAM-Path": (0.8841, 0.8831, 0.792),
            "fine-tuned SAM (without the pathology encoder)": (0.8414, None, 0.726),
            "without the SAM encoder": (0.8191, None, 0.694),
            "SAM as it is, better row": (0.6598, 0.4924, 0.4924),
            "SAM as it is, other row": (0.5245, 0.3555, 0.3555),
        },
        "The released code's IOU is the recall of glands, except for SAM as it is; the last column is IoU for all.",
    ),
    "acdc": Paper(
        "AutoSAM, Hu et al. 2023, ACDC",
        ("Dice", "HD95 (voxels)", "ASSD (voxels)"),
        ("per_image.dice", "outlines.hd95_px", "outlines.assd_px"),
        {},
        "The paper's figures are not in a text at hand. They are means over patients of volumes, ours over slices.",
    ),
    "glas": Paper(
        "AutoSAM, Shaharabany et al. 2023 (arXiv 2306.06370), GlaS",
        ("Dice", "IoU"),
        ("per_image.dice", "per_image.iou"),
        {"AutoSAM": (0.9282, None)},
        _FLATTERED,
    ),
    "monuseg": Paper(
        "AutoSAM, Shaharabany et al. 2023 (arXiv 2306.06370), MoNuSeg",
        ("Dice", "IoU"),
        ("per_image.dice", "per_image.iou"),
        {"AutoSAM": (0.8243, None)},
        _FLATTERED,
    ),
}


def paper(name: str) -> Paper:
    """Return a paper's table by name.

    Raises:
        UnknownNameError: If there is none.
    """
    return lookup("paper", PAPERS, name)


def beside(source: Paper, report: Mapping[str, Any]) -> dict[str, tuple[float | None, ...]]:
    """Return the paper's rows, and below them those of a report, with figures of the same meaning."""
    ours: dict[str, tuple[float | None, ...]] = {}
    for method, scores in report["scores"].items():
        figures = []
        for key in source.measured:
            table, _, metric = key.partition(".")
            if metric:
                figures.append(scores[table]["mean"][metric])
            else:
                figures.append(report["sampath"].get(key) if method == report["head"] else None)
        ours[f"{method}, here"] = tuple(figures)
    return {**source.rows, **ours}
