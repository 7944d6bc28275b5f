"""Random forest (Breiman 2001) on the features of each cell, as a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import ClassInfo, FeatureSpec
from ..errors import DatasetError
from .base import DirectHead, registry

_FLOOR = 1e-6
"""Lower limit of probabilities, so that logits are finite."""


@registry.register("forest")
class ForestHead(DirectHead):
    """Random forest that classifies each cell of the 64 x 64 grid independently; trained with scikit-learn.

    The trees are stored as arrays: child nodes, feature and threshold of each split, and class probabilities of
    each node. Prediction equals scikit-learn's `predict_proba`, but needs neither scikit-learn nor pickle.

    Args:
        spec: The feature maps to read.
        classes: The classes to distinguish.
        trees: Number of trees.
        depth: Maximum depth of a tree.
        samples: Maximum number of training cells, sampled evenly from all tiles.
        nodes: Number of nodes of the largest tree; 1 before training.

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
        for name, value, maximum in (("trees", trees, 2000), ("depth", depth, 64), ("nodes", nodes, 10**6)):
            if not 1 <= value <= maximum:
                raise DatasetError(f"{name} of a forest head is {value}; give 1 to {maximum}.")
        if samples < 1:
            raise DatasetError(f"samples of a forest head is {samples}; give at least 1.")
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
        # A threshold lies between two float32 features, so it is float64, as in scikit-learn.
        self.register_buffer("threshold", torch.zeros(shape, dtype=torch.float64))
        count = len(self.classes)
        self.register_buffer("share", torch.full((*shape, count), 1 / count, dtype=torch.float64))

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {map name: (B, C, h, w)} to log-probabilities (B, K, h, w)."""
        values = self.gather(maps)
        batch, channels, height, width = values.shape
        rows = values.permute(0, 2, 3, 1).reshape(-1, channels)
        logits = self.probabilities(rows).clamp(min=_FLOOR).log().to(values.dtype)
        return logits.reshape(batch, height, width, -1).permute(0, 3, 1, 2)

    def check_state(self) -> None:
        """Check the indices of child nodes and features, and the class shares, which a file may get wrong.

        Raises:
            ValueError: If an index or a share is out of range.
        """
        limits = (("left", self.nodes), ("right", self.nodes), ("feature", self.spec.channels))
        for name, count in limits:
            values = getattr(self, name)
            if int(values.min()) < 0 or int(values.max()) >= count:
                raise ValueError(
                    f"'{name}' of a tree is {int(values.abs().max())}, not from 0 to {count - 1}"
                )
        if float(self.share.min()) < 0:
            raise ValueError("the share of a class is negative")

    def probabilities(self, rows: Tensor) -> Tensor:
        """Return the class probabilities (N, K) float64 of feature vectors (N, C) float32."""
        total = torch.zeros(len(rows), len(self.classes), dtype=torch.float64, device=rows.device)
        for tree in range(self.trees):
            left, right = self.left[tree].long(), self.right[tree].long()
            feature, threshold = self.feature[tree].long(), self.threshold[tree]
            node = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
            # Descend all levels; the children of a leaf are the leaf itself
            for _ in range(self.depth):
                smaller = rows.gather(1, feature[node].unsqueeze(1))[:, 0].double() <= threshold[node]
                node = torch.where(smaller, left[node], right[node])
            # Average the class probabilities of the leaves
            total += self.share[tree][node]
        return total / self.trees

    def learn(self, batches: Iterable[tuple[Mapping[str, Tensor], Tensor]], tiles: int, seed: int) -> None:
        """Train the forest; see `DirectHead.learn`.

        Raises:
            DatasetError: If scikit-learn is not installed, or no cell is labelled.
        """
        try:
            from sklearn.ensemble import RandomForestClassifier
        except ImportError as error:
            raise DatasetError(
                "The head 'forest' needs scikit-learn, which is not installed; "
                'pip install "napari-sampath[baselines]".'
            ) from error
        rows, labels = self._sample(
            batches, max(1, self.samples // max(1, tiles)), np.random.default_rng(seed)
        )
        forest = RandomForestClassifier(
            self.trees, max_depth=self.depth, class_weight="balanced_subsample", random_state=seed, n_jobs=1
        )
        forest.fit(rows, labels)
        self._copy_trees(forest)

    def _sample(self, batches: Any, each: int, rng: np.random.Generator) -> tuple[Any, Any]:
        rows, labels = [], []
        for maps, targets in batches:
            values = self.gather(maps)
            grid = _centres(targets, values.shape[-2:])
            for tile, classes in zip(values, grid, strict=True):
                labelled = torch.nonzero((classes >= 0) & (classes < len(self.classes)))
                sampled = labelled[rng.permutation(len(labelled))[:each]]
                rows.append(tile[:, sampled[:, 0], sampled[:, 1]].T.cpu().numpy())
                labels.append(classes[sampled[:, 0], sampled[:, 1]].cpu().numpy())
        if not any(len(part) for part in labels):
            raise DatasetError("No cell of the training tiles is labelled; annotate some objects first.")
        return np.concatenate(rows), np.concatenate(labels)

    def _copy_trees(self, forest: Any) -> None:
        """Copy scikit-learn's trees into arrays (trees, nodes), padded to the largest tree."""
        trees = [estimator.tree_ for estimator in forest.estimators_]
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


def _centres(targets: Tensor, size: torch.Size) -> Tensor:
    """Sample targets (B, H, W) at the centres of the cells of a coarser grid (h, w)."""
    rows, cols = (
        ((torch.arange(cells, device=targets.device) + 0.5) * pixels / cells).long()
        for cells, pixels in zip(size, targets.shape[-2:], strict=True)
    )
    return targets[:, rows][:, :, cols]
