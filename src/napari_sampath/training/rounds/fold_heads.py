"""Small heads on single feature cells, each trained without some of the images, to check the labels of these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...arrays import GRID, FloatArray
from ...errors import DatasetError
from ...jobs import Job, Progress
from ..data.dataset import IGNORED, Sample
from ..heads.tiles import CELL, TileSet

HIDDEN = 64
"""Number of hidden units of a head."""
STEPS = 60
"""Number of training steps of a head."""
BATCH = 4096
"""Number of feature cells per step."""
MAX_CELLS = 2**16
"""Number of feature cells that are kept for training, evenly over the tiles, so that memory stays small."""
_LEARNING_RATE, _WEIGHT_DECAY = 1e-2, 1e-2
_TARGETS = CELL * CELL
"""Number of targets in a feature cell."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Feature cells of tiles, chosen at random."""

    features: Tensor
    """(N, C) float32."""
    targets: Tensor
    """(N, 16) int64, class index of each target in the cell, or `IGNORED`."""
    folds: Tensor
    """(N,) int64, fold of the image."""

    def classes_without(self, fold: int) -> frozenset[int]:
        """Return the indices of the classes that occur outside a fold."""
        present = self.targets[self.folds != fold].unique().tolist()
        return frozenset(present) - {IGNORED}


def fold_of(samples: Sequence[Sample], folds: int) -> dict[str, int]:
    """Distribute images over folds of similar size, and return {name of the image: fold}.

    The images of a slide or case are in one fold if there are at least two slides or cases.

    Raises:
        DatasetError: If there are fewer than two images.
    """
    if len(samples) < 2:
        raise DatasetError(
            f"The dataset has {len(samples)} labelled images, but labels are compared between at least 2; add another."
        )
    groups: dict[str, list[str]] = defaultdict(list)
    by_group = len({sample.group for sample in samples}) > 1
    for sample in samples:
        groups[sample.group if by_group else sample.name].append(sample.name)
    parts: list[list[str]] = [[] for _ in range(min(max(2, folds), len(groups)))]
    order = [list(groups.values())[index] for index in np.random.default_rng(0).permutation(len(groups))]
    for members in sorted(order, key=len, reverse=True):
        min(parts, key=len).extend(members)
    return {name: number for number, part in enumerate(parts) for name in part}


def cells_job(tiles: TileSet, map_name: str, folds: Mapping[str, int]) -> Job[Cells]:
    """Make a job that draws feature cells from the tiles, the same number from each."""
    rng = np.random.default_rng(0)
    per_tile = min(GRID**2, max(1, MAX_CELLS // len(tiles.tiles)))
    features, targets, numbers = [], [], []
    for done, tile in enumerate(tiles.tiles):
        yield Progress(done, len(tiles.tiles), "Reading the features", "tiles")
        blocks = tile.targets.reshape(GRID, CELL, GRID, CELL).transpose(0, 2, 1, 3).reshape(-1, _TARGETS)
        labelled = np.flatnonzero((blocks != IGNORED).any(axis=1))
        chosen = rng.permutation(labelled)[:per_tile]
        cells = tiles.features(tile)[map_name].float().flatten(1).T
        features.append(cells[torch.from_numpy(chosen).to(cells.device)])
        targets.append(torch.from_numpy(blocks[chosen].astype(np.int64)))
        numbers.append(torch.full((len(chosen),), folds[tile.sample.name]))
    device = features[0].device
    return Cells(torch.cat(features), torch.cat(targets).to(device), torch.cat(numbers).to(device))


def train_heads_job(cells: Cells, classes: int) -> Job[list[nn.Module]]:
    """Make a job that trains one head per fold, on the cells of the other folds.

    Cross-entropy with class weights that are inversely proportional to the root of the frequency; Adam with weight
    decay and a one-cycle schedule.
    """
    heads: list[nn.Module] = []
    count = int(cells.folds.max()) + 1
    for fold in range(count):
        index = (cells.folds != fold).nonzero()[:, 0]
        targets = cells.targets[index]
        frequency = torch.bincount(targets[targets != IGNORED], minlength=classes).float().clamp(min=1)
        weight = frequency.rsqrt() / frequency.rsqrt().mean()
        head = _new_head(cells.features.shape[1], classes).to(cells.features.device)
        optimiser = torch.optim.AdamW(head.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=STEPS)
        generator = torch.Generator().manual_seed(fold)
        for step in range(STEPS):
            yield Progress(fold * STEPS + step, count * STEPS, "Training on the other images", "steps")
            batch = index[torch.randint(len(index), (min(BATCH, len(index)),), generator=generator)]
            logits = head(cells.features[batch]).unflatten(1, (classes, _TARGETS))
            loss = functional.cross_entropy(logits, cells.targets[batch], weight, ignore_index=IGNORED)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        heads.append(head.eval())
    return heads


@torch.inference_mode()
def probabilities(head: nn.Module, features: Tensor, classes: int) -> FloatArray:
    """Return the class probabilities (K, 256, 256) that a head predicts from features (C, 64, 64) of a tile."""
    logits = head(features.float().flatten(1).T).unflatten(1, (classes, CELL, CELL)).softmax(dim=1)
    grid = logits.unflatten(0, (GRID, GRID)).permute(2, 0, 3, 1, 4)
    values: FloatArray = grid.reshape(classes, GRID * CELL, GRID * CELL).cpu().numpy()
    return values


def _new_head(channels: int, classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.BatchNorm1d(channels, affine=False),
            nn.Linear(channels, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, classes * _TARGETS),
        )
