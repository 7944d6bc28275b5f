"""Compute the statistics of the training images of the shipped heads, and write them beside the bundles.

    SAMPATH_DATA=... python scripts/write_head_statistics.py

Bundles that `sampath train` writes contain these statistics; those of the shipped heads were made before.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from napari_sampath.heads import list_bundles, load_head
from napari_sampath.predict import load_model
from napari_sampath.predict.foreign.describe import colours, mean_features, texture
from napari_sampath.predict.foreign.statistics import (
    KEY,
    make_statistics,
    statistics_file,
    write_statistics,
)
from napari_sampath.training import open_dataset
from napari_sampath.training.data.dataset import even_subset

IMAGES, ENCODED = 300, 60
"""Number of training images that are described, and of those whose features are described too."""


def main() -> None:
    """Write one file for each dataset of the shipped heads."""
    root = Path(os.environ["SAMPATH_DATA"])
    heads = [load_head(name) for name in list_bundles()]
    model = load_model("sampath-tiny")
    for name in sorted({str(head.metadata.data["name"]) for head in heads if KEY not in head.metadata.data}):
        stains, textures, groups, features, feature_groups = [], [], [], [], []
        for part in name.split(" + "):
            dataset = open_dataset(root / part)
            samples = even_subset(list(dataset.split("train")), IMAGES, 0)
            encoded = {sample.name for sample in even_subset(samples, ENCODED, 0)}
            for sample in samples:
                pixels = dataset.read(sample).pixels
                stains.append(colours(pixels))
                textures.append(texture(pixels))
                groups.append(sample.group)
                if sample.name in encoded:
                    features.append(mean_features(model.encode(pixels, keep=False), "embedding"))
                    feature_groups.append(sample.group)
        statistics = make_statistics(stains, textures, groups, features, feature_groups, model.name)
        if statistics is None:
            raise SystemExit(f"'{name}' has too few images for statistics.")
        write_statistics(statistics_file(Path(heads[0].source).parent, name), statistics)
        print(name, len(stains), len(features), np.round(statistics.colours.limit, 1))  # noqa: T201


if __name__ == "__main__":
    main()
