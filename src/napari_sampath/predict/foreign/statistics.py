"""Statistics of the training images of a head: mean, spread and usual distance of their descriptions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import FloatArray
from ...files import JsonError, from_json, read_json
from .describe import COLOURS, OCTAVES

if TYPE_CHECKING:
    from ...heads import LoadedHead

KEY = "statistics"
"""Key of the statistics in `Metadata.data`."""
SCHEMA = 1
MIN_TILES, MIN_GROUPS = 12, 3
"""Minimum number of tiles and of slides for statistics; fewer do not show how much training images vary."""
FOLDS = 5
FALSE_ALARMS = 0.07
"""Share of the training tiles that exceed a limit when they are compared with those of other slides."""
AXES = 12
"""Largest number of principal axes that are stored."""
SHRINKAGE = 0.02
"""Share of the mean variance that is added to each variance, for axes that hardly vary in few tiles."""
LEAST_RESIDUAL = 1e-3
"""Lower limit of the mean squared distance from the subspace of the axes, as a share of the whole variance."""
DIGITS = 5


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal distribution of descriptions (n,) around a mean, with a limit of the distance."""

    mean: list[float]
    axes: list[list[float]]
    """Principal axes, (k, n)."""
    variances: list[float]
    """Variance along each axis, (k,)."""
    residual: float
    """Mean squared distance from the subspace of the axes; 0 if they span everything."""
    limit: float = 0.0
    """Distance that training images from other slides rarely exceed."""

    def distance(self, described: FloatArray) -> float:
        """Return the squared Mahalanobis distance of a description (n,) from the mean."""
        offset = described - np.array(self.mean)
        along = np.array(self.axes) @ offset
        total = float((along**2 / np.array(self.variances)).sum())
        if self.residual > 0:
            rest = float(offset @ offset - along @ along)
            total += max(0.0, rest) / self.residual * len(self.variances)
        return total


@dataclass(frozen=True, slots=True)
class TrainingStatistics:
    """Statistics of the training images of a head."""

    schema: int
    tiles: int
    colours: Normal
    texture: Normal
    features: Normal | None = None
    """Distribution of the first feature map that the head reads; None for heads that read only pixels."""
    encoder: str = ""
    """Name of the encoder of the features."""

    def to_json(self) -> dict[str, Any]:
        """Convert to values that JSON can store."""
        return asdict(self)


def normal(values: FloatArray) -> Normal:
    """Return the distribution of descriptions (N, n)."""
    mean = values.mean(axis=0)
    centred = values - mean
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    count = min(AXES, values.shape[1], len(values) - 1)
    variances = singular**2 / len(values)
    kept = variances[:count] + SHRINKAGE * variances.mean()
    rest = 0.0
    if count < values.shape[1]:
        # Rounding the axes adds an error in proportion to the whole variance.
        rest = max(float(variances[count:].sum()), LEAST_RESIDUAL * float(variances.sum()))
    return Normal(
        _rounded(mean),
        [_rounded(axis) for axis in axes[:count]],
        _rounded(np.maximum(kept, 1e-9)),
        float(f"{rest:.{DIGITS}g}"),
    )


def with_limits(kinds: Sequence[FloatArray], groups: Sequence[str], alarms: float) -> list[Normal]:
    """Return the distributions of several kinds of descriptions (N, n) of the same tiles, with limits.

    The limits are so wide that the given share of the tiles exceeds any of them, with the same share for each kind.
    Each description is compared with those of other slides (`groups`), because images of one slide are alike.
    """
    folds = {group: number % FOLDS for number, group in enumerate(sorted(set(groups)))}
    fold = np.array([folds[group] for group in groups])
    distances = []
    for values in kinds:
        own = np.zeros(len(values))
        for number in set(fold.tolist()):
            others = normal(values[fold != number])
            own[fold == number] = [others.distance(described) for described in values[fold == number]]
        distances.append(own)
    ranks = np.max([(1 + own.argsort().argsort()) / len(own) for own in distances], axis=0)
    share = float(np.quantile(ranks, 1 - alarms))
    return [
        replace(normal(values), limit=float(f"{np.quantile(own, share):.{DIGITS}g}"))
        for values, own in zip(kinds, distances, strict=True)
    ]


def make_statistics(
    colours: Sequence[FloatArray],
    textures: Sequence[FloatArray],
    groups: Sequence[str],
    features: Sequence[FloatArray] = (),
    encoder: str = "",
) -> TrainingStatistics | None:
    """Return the statistics of training tiles; None if there are too few tiles or slides.

    Args:
        colours: `describe.colours` of each tile.
        textures: `describe.texture` of each tile.
        groups: Slide or case of each tile.
        features: `describe.mean_features` of each tile; empty for heads that read only pixels.
        encoder: Name of the encoder of the features.
    """
    if len(colours) < MIN_TILES or len(set(groups)) < MIN_GROUPS:
        return None
    kinds = [np.stack(colours), np.stack(textures), *([np.stack(features)] if features else [])]
    limited = with_limits(kinds, groups, FALSE_ALARMS)
    return TrainingStatistics(
        SCHEMA, len(colours), limited[0], limited[1], limited[2] if features else None, encoder
    )


def statistics_of(head: LoadedHead) -> TrainingStatistics | None:
    """Return the statistics in a bundle, or in the file beside a shipped one; None for bundles without statistics."""
    stored: Any = head.metadata.data.get(KEY)
    name = str(head.metadata.data.get("name", ""))
    try:
        if stored is None and name and "/" not in name and "\\" not in name:
            stored = read_json(statistics_file(Path(head.source).parent, name))
        statistics = from_json(TrainingStatistics, stored) if isinstance(stored, Mapping) else None
        return (
            statistics
            if statistics is not None and statistics.schema == SCHEMA and _fits(statistics)
            else None
        )
    except (JsonError, OSError, ValueError):
        return None


def statistics_file(folder: Path, data_name: str) -> Path:
    """Return the file with the statistics of a dataset, or of several joined by " + ", in the folder of the bundles."""
    return folder / f"{data_name.replace(' ', '')}.{KEY}.json"


def write_statistics(path: Path, statistics: TrainingStatistics) -> None:
    """Write statistics to a file beside shipped bundles."""
    path.write_text(json.dumps(statistics.to_json(), separators=(",", ":")) + "\n", encoding="utf-8")


def _fits(statistics: TrainingStatistics) -> bool:
    """Return False if the sizes of the stored lists contradict each other."""
    normals = [statistics.colours, statistics.texture, *filter(None, [statistics.features])]
    sizes = len(statistics.colours.mean), len(statistics.texture.mean)
    return sizes == (COLOURS, OCTAVES) and all(
        0 < len(each.axes) == len(each.variances)
        and all(len(axis) == len(each.mean) for axis in each.axes)
        and all(value > 0 for value in each.variances)
        for each in normals
    )


def _rounded(values: FloatArray) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
