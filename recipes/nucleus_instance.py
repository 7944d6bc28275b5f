"""Train the shipped head `nucleus-instance`: python recipes/nucleus_instance.py FOLDER OUTPUT.safetensors [STEPS]

FOLDER contains bbbc038_nuclei and tnbc_nuclei. Each training image is encoded once as it is and twice after random
crops, flips, changes of stain and mosaics of four images, so that training itself needs no encoder: 580 steps took 8
minutes on one core, after 5 minutes of encoding. The shipped file was made by an earlier version of this script, with
other changes of stain; a full run of this version has not been scored.
"""

from __future__ import annotations

import copy
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from napari_sampath import load_head, load_model
from napari_sampath.geometry import whole
from napari_sampath.heads import Metadata, create, save_bundle
from napari_sampath.images import read
from napari_sampath.training.data.dataset import read_label_map
from napari_sampath.training.data.depth import object_depth
from napari_sampath.training.data.stain import jitter_stain
from napari_sampath.training.heads.augmentation import orient
from napari_sampath.training.heads.losses import depth_loss
from napari_sampath.training.heads.tiles import targets_on_grid

SETS = "bbbc038_nuclei", "tnbc_nuclei"
STEPS, BATCH, CELLS, RATE, TNBC_SHARE = 580, 8, 24, 2e-3, 0.45


def read_set(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pixels (H, W, 3) and object numbers (H, W) of the training images."""
    with (folder / "index.csv").open(newline="", encoding="utf-8") as stream:
        names = [row["name"] for row in csv.DictReader(stream) if row["split"] == "train"]
    images = []
    for name in names:
        loaded = read(next((folder / "images").glob(f"{name}.*")))
        hw = loaded.pixels.shape[0], loaded.pixels.shape[1]
        ids = read_label_map(folder / "masks" / f"{name}.png", hw, loaded.orientation)
        images.append((loaded.pixels, ids.astype(np.int32)))
    return images


def varied(images: list[Any], index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a random crop of an image, or of a mosaic of it and three others of its set, with another stain."""
    pixels, ids = images[index]
    height, width = ids.shape
    if rng.random() < 0.5 and max(height, width) <= 600:
        canvas, numbers, used = (
            np.zeros((2 * height, 2 * width, 3), np.uint8),
            np.zeros((2 * height, 2 * width), np.int32),
            0,
        )
        for place, other in enumerate([index, *rng.choice(len(images), 3, replace=False)]):
            part, part_ids = (array[:height, :width] for array in images[other])
            missing = [(0, height - part_ids.shape[0]), (0, width - part_ids.shape[1])]
            part, part_ids = (
                np.pad(part, [*missing, (0, 0)], "symmetric"),
                np.pad(part_ids, missing, "symmetric"),
            )
            window = (
                slice(place // 2 * height, (place // 2 + 1) * height),
                slice(place % 2 * width, (place % 2 + 1) * width),
            )
            canvas[window], numbers[window] = part, np.where(part_ids > 0, part_ids + used, 0)
            used += int(part_ids.max()) + 1
        pixels, ids = canvas, numbers
    share = rng.uniform(0.5, 1)
    height, width = int(share * ids.shape[0]), int(share * ids.shape[1])
    top, left = rng.integers(ids.shape[0] - height + 1), rng.integers(ids.shape[1] - width + 1)
    window = slice(top, top + height), slice(left, left + width)
    turn = int(rng.integers(8))
    return jitter_stain(orient(pixels[window], turn), rng, 1.0), orient(ids[window], turn)


def encode(model: Any, pixels: np.ndarray, ids: np.ndarray) -> dict[str, torch.Tensor]:
    """Return the maps and targets of one image, float16."""
    frame = whole((ids.shape[0], ids.shape[1]))
    inside = torch.from_numpy(targets_on_grid((ids > 0).astype(np.uint8), frame)).half()
    depth = torch.from_numpy(targets_on_grid(object_depth(ids), frame, 0)).half()
    image = model.encoder.preprocess(pixels, frame).half()
    numbers = torch.from_numpy(targets_on_grid(ids, frame, 0))
    return {
        "embedding": model.encode(pixels, frame, keep=False).maps["embedding"].half(),
        "image": image,
        "inside": inside,
        "depth": depth,
        "ids": numbers,
        "cells": torch.tensor([-(-side // 16) for side in frame.input_hw]),
    }


def window(tile: dict[str, torch.Tensor], rng: np.random.Generator) -> list[torch.Tensor]:
    """Return a random window of a tile in a random orientation: embedding, image, classes, depth, object numbers."""
    row, col = (int(rng.integers(max(0, int(used) - CELLS) + 1)) for used in tile["cells"])
    parts = []
    for name, factor in (("embedding", 1), ("image", 16), ("inside", 4), ("depth", 4), ("ids", 4)):
        rows, cols = (slice(factor * start, factor * (start + CELLS)) for start in (row, col))
        parts.append(tile[name][..., rows, cols].float())
    noise = 1 + 0.15 * torch.randn(3, 1, 1), 0.15 * torch.randn(3, 1, 1)
    parts[1] = (parts[1] * noise[0] + noise[1]) * (parts[1] != 0)
    quarter, flip = int(rng.integers(4)), rng.random() < 0.5
    turned = [torch.rot90(part, quarter, (-2, -1)) for part in parts]
    return [part.flip(-1) if flip else part for part in turned]


def loss_of(
    logits: torch.Tensor, depth: torch.Tensor, inside: torch.Tensor, truth: torch.Tensor, ids: torch.Tensor
) -> torch.Tensor:
    """Return cross-entropy, heavier at outlines and most between touching objects, + Dice + depth."""
    valid = (inside <= 1).float()
    inside = inside * valid
    highest = functional.max_pool2d(ids[:, None], 3, 1, 1)[:, 0]
    lowest = -functional.max_pool2d(-(ids + 1e6 * (ids == 0))[:, None], 3, 1, 1)[:, 0]
    touching = (highest != lowest) & (highest > 0) & (lowest < 1e5)
    outline = (highest > 0) & ((ids == 0) | (functional.max_pool2d(1 - inside[:, None], 3, 1, 1)[:, 0] > 0))
    weights = valid * (1 + outline.float() + 3 * touching.float())
    margin = logits[:, 1] - logits[:, 0]
    entropy = functional.binary_cross_entropy_with_logits(margin, inside, reduction="none")
    chance = margin.sigmoid() * valid
    dice = 1 - (2 * (chance * inside).sum((1, 2)) + 1) / (chance.sum((1, 2)) + inside.sum((1, 2)) + 1)
    targets = torch.where(valid > 0, inside, 255).long()
    return (
        (entropy * weights).sum() / weights.sum()
        + 0.5 * dice.mean()
        + depth_loss(depth, truth[:, None], targets)
    )


def main() -> None:
    """Train the head and write the bundle."""
    data, output = Path(sys.argv[1]), Path(sys.argv[2])
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else STEPS
    torch.manual_seed(0)
    rng, model = np.random.default_rng(5), load_model("sampath-tiny")
    tiles = []
    for name in SETS:
        images = read_set(data / name)
        pairs = images + [varied(images, index, rng) for _ in range(2) for index in range(len(images))]
        tiles.append([encode(model, *pair) for pair in pairs])
    classes = load_head("nucleus-cnn").classes
    head = create("instance", model.encoder.spec, classes)
    average = copy.deepcopy(head)
    optimiser = torch.optim.AdamW(head.parameters(), weight_decay=1e-2)
    for step in range(steps):
        rate = RATE * min(1, (step + 1) / 40) * (0.02 + 0.49 * (1 + np.cos(np.pi * step / steps)))
        optimiser.param_groups[0]["lr"] = float(rate)
        chosen = [tiles[int(rng.random() < TNBC_SHARE)] for _ in range(BATCH)]
        batch = [
            torch.stack(parts)
            for parts in zip(*(window(own[rng.integers(len(own))], rng) for own in chosen), strict=True)
        ]
        logits, depth = head.forward_with_depth({"embedding": batch[0], "image": batch[1]})
        loss = loss_of(logits, depth, *batch[2:])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        decay = min(0.99, (step + 1) / (step + 10))
        for mean, value in zip(average.state_dict().values(), head.state_dict().values(), strict=True):
            mean.copy_(decay * mean + (1 - decay) * value if mean.is_floating_point() else value)
    encoders = load_head("nucleus-cnn").metadata.encoders
    facts = {"name": " + ".join(SETS), "tile_px": 680}
    save_bundle(output, average, Metadata(output.stem, encoders, data=facts), half=True)


if __name__ == "__main__":
    main()
