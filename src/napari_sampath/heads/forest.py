"""A baseline: a random forest (Breiman 2001) on the features of each cell, kept as plain arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..arrays import ClassInfo, FeatureSpec
from ..errors import DatasetError, WeightsError
from .base import Argument, DirectHead, registry

_FLOOR = 1e-6
"""Least probability that is answered: a logit must be finite."""


@registry.register("forest")
class ForestHead(DirectHead):
    """Classifies each cell of the 64 x 64 grid by itself; learned in one go by scikit-learn, not step by step.

    Its trees are arrays: the node to go on with, the feature and threshold that decide, and the classes'
    shares. What it answers equals scikit-learn's `predict_proba`, needs no scikit-learn and runs no pickle.

    Args:
        spec: The maps it reads.
        classes: What it tells apart.
        trees: Number of trees.
        depth: Largest depth of a tree.
        samples: Largest number of cells it learns from, drawn evenly over the tiles.
        nodes: Nodes of the largest tree, known once it has learned; 1 until then.

    Raises:
        DatasetError: If an argument is not allowed.
    """

    kind = "forest"
    summary = "Baseline: a random forest on the features of each cell."

    def __init__(
        self,
        spec: FeatureSpec,
        classes: Sequence[ClassInfo],
        trees: int = 100,
        depth: int = 20,
        samples: int = 50_000,
        nodes: int = 1,
    ) -> None:
        super().__init__(spec, classes)
        for name, value, most in (("trees", trees, 2000), ("depth", depth, 64), ("nodes", nodes, 10**6)):
            if not 1 <= value <= most:
                raise DatasetError(f"The {name} of a forest head are {value}; allowed: 1 to {most}.")
        if samples < 1:
            raise DatasetError(f"The samples of a forest head are {samples}; give at least 1.")
        self.trees, self.depth, self.samples, self.nodes = trees, depth, samples, nodes
        shape = (trees, nodes)
        self.left: Tensor
        self.right: Tensor
        self.feature: Tensor
        self.threshold: Tensor
        self.share: Tensor
        self.register_buffer("left", torch.zeros(shape, dtype=torch.int32))
        self.register_buffer("right", torch.zeros(shape, dtype=torch.int32))
        self.register_buffer("feature", torch.zeros(shape, dtype=torch.int32))
        # Features are float32 and thresholds lie between two of them: float64, as in scikit-learn.
        self.register_buffer("threshold", torch.zeros(shape, dtype=torch.float64))
        count = len(self.classes)
        self.register_buffer("share", torch.full((*shape, count), 1 / count, dtype=torch.float64))

    @property
    def arguments(self) -> dict[str, Argument]:
        """What builds the same head again."""
        return {"trees": self.trees, "depth": self.depth, "samples": self.samples, "nodes": self.nodes}

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {map name: (B, C, h, w)} to logits (B, K, h, w), the logarithms of the probabilities."""
        values = self.gather(maps)
        batch, channels, height, width = values.shape
        rows = values.permute(0, 2, 3, 1).reshape(-1, channels)
        found = self.probabilities(rows).clamp(min=_FLOOR).log().to(values.dtype)
        return found.reshape(batch, height, width, -1).permute(0, 3, 1, 2)

    def probabilities(self, rows: Tensor) -> Tensor:
        """Classify rows (N, C) float32: (N, K) float64, sum 1."""
        total = torch.zeros(len(rows), len(self.classes), dtype=torch.float64, device=rows.device)
        for tree in range(self.trees):
            left, right = self.left[tree].long(), self.right[tree].long()
            feature, threshold = self.feature[tree].long(), self.threshold[tree]
            node = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
            for _ in range(self.depth):
                # A leaf leads to itself.
                smaller = rows.gather(1, feature[node].unsqueeze(1))[:, 0].double() <= threshold[node]
                node = torch.where(smaller, left[node], right[node])
            total += self.share[tree][node]
        return total / self.trees

    def learn(self, batches: Iterable[tuple[Mapping[str, Tensor], Tensor]], tiles: int, seed: int) -> None:
        """Grow the trees; see `DirectHead.learn`.

        Raises:
            DatasetError: If scikit-learn is not installed, or no cell is labelled.
        """
        try:
            from sklearn.ensemble import RandomForestClassifier
        except ImportError as error:
            raise DatasetError(
                "The head 'forest' needs scikit-learn, which is not installed; "
                "pip install 'napari-sampath[baselines]'."
            ) from error
        rows, labels = self._draw(batches, max(1, self.samples // max(1, tiles)), np.random.default_rng(seed))
        forest = RandomForestClassifier(
            self.trees, max_depth=self.depth, class_weight="balanced_subsample", random_state=seed, n_jobs=1
        )
        forest.fit(rows, labels)
        self._take(forest)

    def _draw(self, batches: Any, each: int, rng: np.random.Generator) -> tuple[Any, Any]:
        rows, labels = [], []
        for maps, targets in batches:
            values = self.gather(maps)
            grid = _centres(targets, values.shape[-2:])
            for one, known in zip(values, grid, strict=True):
                places = torch.nonzero((known >= 0) & (known < len(self.classes)))
                chosen = places[rng.permutation(len(places))[:each]]
                rows.append(one[:, chosen[:, 0], chosen[:, 1]].T.cpu().numpy())
                labels.append(known[chosen[:, 0], chosen[:, 1]].cpu().numpy())
        if not labels or not sum(len(one) for one in labels):
            raise DatasetError("No cell of the training tiles is labelled; label some.")
        return np.concatenate(rows), np.concatenate(labels)

    def _take(self, forest: Any) -> None:
        """Copy scikit-learn's trees, padded to the largest one."""
        trees = [one.tree_ for one in forest.estimators_]
        self.nodes = max(tree.node_count for tree in trees)
        device = self.left.device
        shape = (self.trees, self.nodes)
        arrays = {name: np.zeros(shape, dtype=np.int32) for name in ("left", "right", "feature")}
        threshold = np.zeros(shape)
        share = np.zeros((*shape, len(self.classes)))
        for row, tree in enumerate(trees):
            size = tree.node_count
            leaf = tree.children_left < 0
            own = np.arange(size)
            arrays["left"][row, :size] = np.where(leaf, own, tree.children_left)
            arrays["right"][row, :size] = np.where(leaf, own, tree.children_right)
            arrays["feature"][row, :size] = np.where(leaf, 0, tree.feature)
            threshold[row, :size] = tree.threshold
            values = tree.value[:, 0]
            share[row, :size][:, forest.classes_] = values / values.sum(axis=1, keepdims=True)
        for name, array in (*arrays.items(), ("threshold", threshold), ("share", share)):
            setattr(self, name, torch.from_numpy(array).to(device))

    @classmethod
    def import_reference(
        cls, state: Mapping[str, Tensor], classes: Sequence[ClassInfo] | None = None, encoder: str = "vit_b"
    ) -> Self:
        """Refuse: there is no published checkpoint of this baseline."""
        raise WeightsError("A forest has no published weights to import; train one with the head 'forest'.")


def _centres(targets: Tensor, size: torch.Size) -> Tensor:
    """Sample targets (B, H, W) in the middle of the cells of a coarser grid (h, w)."""
    rows, cols = (
        ((torch.arange(small, device=targets.device) + 0.5) * large / small).long()
        for small, large in zip(size, targets.shape[-2:], strict=True)
    )
    return targets[:, rows][:, :, cols]
