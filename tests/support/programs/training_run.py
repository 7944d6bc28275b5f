"""A training run as a program, for tests that kill it or start several: DATA OUTPUT KEY=VALUE ..."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from napari_sampath.training import TrainingConfig, TrainingProgress, open_dataset, train
from support.models.patches import patch_model

RECIPE = TrainingConfig(
    epochs=4, batch_size=2, window_cells=16, head_arguments={"top_channel": 4}, save_every_s=0
)


def show(progress: object) -> None:
    if isinstance(progress, TrainingProgress):
        sys.stdout.write(f"{progress.done:g}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    changes = {key: json.loads(value) for key, value in (word.split("=", 1) for word in sys.argv[3:])}
    data = open_dataset(sys.argv[1])
    train(data, "cnn", dataclasses.replace(RECIPE, **changes), patch_model(), Path(sys.argv[2]), show)
