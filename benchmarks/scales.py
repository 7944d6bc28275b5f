"""Score the gland heads on the same tissue at several scales.

    python -m benchmarks.scales --data FOLDER [--head NAME]

Sixteen neighbouring images of a kind of tissue are one tile each, four mosaics of 2 x 2, and one of 4 x 4. The encoder
enlarges or shrinks each tile to its input, so that structures have a half and a quarter of their size in mosaics.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_sampath.cli.output import Output
from napari_sampath.config import load_config
from napari_sampath.geometry import INPUT_PX
from napari_sampath.heads import LoadedHead, list_bundles, load_head
from napari_sampath.jobs import Job
from napari_sampath.predict import Model, load_model_job
from napari_sampath.predict.head_tiles import TILE_KEY
from napari_sampath.store import Store
from napari_sampath.training import evaluate_job
from napari_sampath.training.data.dataset import Dataset
from napari_sampath.training.data.dataset_report import text_table
from napari_sampath.training.data.readers import open_dataset
from napari_sampath.training.evaluation.report import Table, format_score
from napari_sampath.training.heads.mosaics import whole_mosaics

GRIDS = 1, 2, 4
IMAGES = 16
FOLDER = "ebhi_glands"


@dataclass(frozen=True, slots=True)
class ScaleScore:
    """Pooled Dice of a head and of "all gland" at one scale."""

    head: str
    side_px: int
    """Side of the tiles in image pixels."""
    tiles: int
    dice: float
    baseline: float

    @property
    def scale(self) -> float:
        """Factor by which a tile is enlarged for the encoder."""
        return INPUT_PX / self.side_px


def score_scales(
    head: LoadedHead, dataset: Dataset, split: str = "val", model: Model | None = None
) -> Job[list[ScaleScore]]:
    """Score a head on whole tiles of several sizes that show the same tissue."""
    if model is None:
        settings = load_config()
        model = yield from load_model_job(
            head.encoder_name, settings.device, store=Store.from_config(settings)
        )
    scores = []
    for grid in GRIDS:
        samples = tuple(whole_mosaics(dataset.split(split), grid, IMAGES))
        side = max(samples[0].read().labels.shape)
        data = {**head.metadata.data, TILE_KEY: side}
        whole = dataclasses.replace(head, metadata=dataclasses.replace(head.metadata, data=data))
        report = yield from evaluate_job(dataclasses.replace(dataset, samples=samples), whole, split, model)
        dice = {name: values["pooled"]["mean"]["dice"] for name, values in report["scores"].items()}
        baseline = max(value for name, value in dice.items() if name.startswith("all "))
        scores.append(ScaleScore(head.name, side, len(samples), dice[head.name], baseline))
    return scores


def scale_table(scores: Sequence[ScaleScore]) -> Table:
    """Tabulate the scores, one row per head and scale."""
    rows = [
        [
            f"`{score.head}`",
            f"{score.scale:.1f}x",
            f"{score.tiles} of {score.side_px} px",
            format_score(score.dice),
            format_score(score.baseline),
        ]
        for score in scores
    ]
    return ["head", "scale", "tiles", "pooled Dice", "all gland"], rows


def main() -> None:
    """Score the heads and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scales", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help=f"folder with {FOLDER}")
    parser.add_argument("--head", action="append", metavar="NAME", help="head to score; repeatable")
    args = parser.parse_args()
    dataset, output, scores = open_dataset(args.data / FOLDER), Output(), []
    for name in args.head or list_bundles("gland-*"):
        scores += output.run(score_scales(load_head(name), dataset))
    output.result([dataclasses.asdict(score) for score in scores], text_table(*scale_table(scores)))


if __name__ == "__main__":
    main()
