"""The heads of a project, with their learning curves."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import SampathError
from ...files.messages import plural
from ...heads import load_head
from ...heads.bundle import SUFFIX

FOLDER = "heads"


@dataclass(frozen=True, slots=True)
class HeadRow:
    """One head of the report."""

    name: str
    file: str
    encoder: str
    quality: str
    """Mean Dice and on what it was measured, or why it was not measured; "" if the head cannot be read."""
    data: Mapping[str, Any]
    """Summary of its training data."""
    curves: Mapping[str, list[tuple[float, float]]]
    """Name of a value -> (epoch, value)."""
    problem: str = ""
    """Why the head could not be read, one sentence."""


def read_heads(project: Path) -> list[HeadRow]:
    """Read the heads in the folder `heads/` of a project, by name."""
    rows = []
    for path in sorted((project / FOLDER).glob(f"*{SUFFIX}")):
        curves = read_curves(path.with_suffix(".csv"))
        try:
            data = load_head(path).metadata
        except SampathError as error:
            rows.append(HeadRow(path.stem, path.name, "", "", {}, curves, str(error)))
            continue
        encoder = ", ".join(reference.name for reference in data.encoders)
        if not _is_measured(data.metrics):
            curves.pop("dice", None)  # It was computed on the training images.
        rows.append(HeadRow(data.name, path.name, encoder, _quality(data.metrics), data.data, curves))
    return rows


def _is_measured(metrics: Mapping[str, Any]) -> bool:
    """Return True if the scores are those of images that the head was not trained on."""
    return not str(metrics.get("chosen_on", "train")).startswith("train")


def _quality(metrics: Mapping[str, Any]) -> str:
    try:
        dice, images = float(metrics["head"]["per_image"]["mean"]["dice"]), int(metrics["head"]["images"])
    except (LookupError, TypeError, ValueError):
        return "quality not measured"
    if not _is_measured(metrics):
        return "quality not measured, because all training images show one slide or case"
    return f"mean Dice {dice:.2f} on {plural(images, 'image')} ({metrics['chosen_on']})"


def read_curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Read the training log beside a head: loss and mean Dice of each epoch; empty if there is none."""
    curves: dict[str, list[tuple[float, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for name in ("loss", "dice"):
                    epoch, value = _number(row.get("epoch")), _number(row.get(name))
                    if epoch is not None and value is not None:
                        curves.setdefault(name, []).append((epoch, value))
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    return curves


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
