"""Checkpoints of a training run, from which a killed run resumes with the same result.

A checkpoint is one safetensors file beside the bundle, replaced atomically, with the weights, the best weights so
far, the optimiser's state and the position in the run. It needs no random state, because each step seeds its own
generator.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...files import parse_json, write_atomically
from ...files.tensor_file import dump_tensors, read_tensors
from ..evaluation.metrics import Confusion

logger = logging.getLogger(__name__)

_KEY = "sampath_training"


@dataclass(slots=True)
class Best:
    """The best weights so far."""

    dice: float = -1.0
    epoch: int = 0
    state: dict[str, Tensor] = field(default_factory=dict)
    matrices: list[Confusion] = field(default_factory=list)
    """Confusion matrix of each validation tile."""


@dataclass(slots=True)
class Position:
    """Position of a training run."""

    epoch: int = 1
    batch: int = 0
    """Number of finished batches of the epoch."""
    losses: list[float] = field(default_factory=list)
    """Losses of the finished batches of the epoch."""
    waited: int = 0
    """Number of epochs since the best validation Dice."""
    top_dice: float = -1.0
    """Best validation Dice so far."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The log so far, one row per epoch."""
    plateau: dict[str, Any] = field(default_factory=dict)
    """State of the scheduler for the schedule "plateau"; empty for other schedules."""
    best: Best = field(default_factory=Best)


def checkpoint_path(bundle: Path) -> Path:
    """Return the path of the checkpoint of a run that writes `bundle`."""
    return bundle.with_name(f"{bundle.stem}.checkpoint")


def save(
    path: Path, fingerprint: str, network: nn.Module, optimiser: torch.optim.Optimizer, position: Position
) -> None:
    """Write a checkpoint; `fingerprint` is a hash of everything that the run depends on.

    Raises:
        StorageError: If the checkpoint cannot be written; the previous one is kept.
    """
    tensors = {f"weights/{key}": value for key, value in network.state_dict().items()}
    tensors |= {f"best/{key}": value for key, value in position.best.state.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
    if position.best.matrices:
        tensors["matrices"] = torch.from_numpy(np.stack(position.best.matrices))
    metadata = {
        "fingerprint": fingerprint,
        "position": {
            **{f.name: getattr(position, f.name) for f in dataclasses.fields(position)},
            "best": {"dice": position.best.dice, "epoch": position.best.epoch},
        },
    }
    copies = {key: value.detach().to("cpu").clone().contiguous() for key, value in tensors.items()}
    content = dump_tensors(copies, {_KEY: json.dumps(metadata)})
    write_atomically(path, lambda stream: stream.write(content))


def load(
    path: Path, fingerprint: str, network: nn.Module, optimiser: torch.optim.Optimizer
) -> Position | None:
    """Restore a run from a checkpoint, and return its position.

    Returns None and leaves the network unchanged if there is no checkpoint, or if it is damaged or belongs to a
    different run.
    """
    if not path.is_file():
        return None
    try:
        file = read_tensors(path)
        metadata = parse_json(file.metadata[_KEY])
        if metadata["fingerprint"] != fingerprint:
            logger.info(
                "'%s' belongs to a run with different data or settings; training starts from the beginning.",
                path,
            )
            return None
        tensors = file.tensors
        position = _parse(metadata["position"], tensors)
        network.load_state_dict(_with_prefix(tensors, "weights/"))
        optimiser.load_state_dict(_optimiser_state(tensors, optimiser))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        logger.warning("'%s' cannot be read (%s); training starts from the beginning.", path, error)
        return None
    return position


def _parse(values: dict[str, Any], tensors: dict[str, Tensor]) -> Position:
    matrices = list(tensors["matrices"].numpy()) if "matrices" in tensors else []
    best = Best(**values.pop("best"), state=_with_prefix(tensors, "best/"), matrices=matrices)
    return Position(**values, best=best)


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _optimiser_state(tensors: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _with_prefix(tensors, "optimiser/").items():
        index, name = key.split("/", 1)
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
