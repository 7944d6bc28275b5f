"""A training run on disk, so that one that was killed goes on as if it had not been.

One safetensors file beside the bundle, replaced atomically: weights, the best weights so far, the optimiser's
state, and where in which epoch the run is. Random numbers are not in it: each step derives its own.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ...files import write_atomically
from ..evaluation.metrics import Confusion
from .optim import Plateau

logger = logging.getLogger(__name__)

_KEY = "sampath_training"


@dataclass(slots=True)
class Best:
    """The weights that will be kept."""

    dice: float = -1.0
    epoch: int = 0
    state: dict[str, Tensor] = field(default_factory=dict)
    matrices: list[Confusion] = field(default_factory=list)
    """On each validation tile."""


@dataclass(slots=True)
class Position:
    """Where a run is."""

    epoch: int = 1
    batch: int = 0
    """Batches of the epoch that are done."""
    losses: list[float] = field(default_factory=list)
    """Of these batches."""
    waited: int = 0
    """Epochs since the best Dice."""
    top_dice: float = -1.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The log so far, one row an epoch."""
    plateau: Plateau = field(default_factory=Plateau)
    best: Best = field(default_factory=Best)


def checkpoint_path(bundle: Path) -> Path:
    """Return where the run that will write `bundle` is kept while it lasts."""
    return bundle.with_name(f"{bundle.stem}.checkpoint")


def save(
    path: Path, fingerprint: str, network: nn.Module, optimiser: torch.optim.Optimizer, at: Position
) -> None:
    """Write a run.

    Args:
        path: See `checkpoint_path`.
        fingerprint: Of everything that the run depends on.
        network: The head.
        optimiser: Over its parameters.
        at: Where the run is.

    Raises:
        StorageError: If it cannot be written; the one that was there before is whole.
    """
    tensors = {f"weights/{key}": value for key, value in network.state_dict().items()}
    tensors |= {f"best/{key}": value for key, value in at.best.state.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
    if at.best.matrices:
        tensors["matrices"] = torch.from_numpy(np.stack(at.best.matrices))
    facts = {
        "fingerprint": fingerprint,
        "position": {
            **{
                f.name: getattr(at, f.name)
                for f in dataclasses.fields(at)
                if f.name not in ("plateau", "best")
            },
            "plateau": dataclasses.asdict(at.plateau),
            "best": {"dice": at.best.dice, "epoch": at.best.epoch},
        },
    }
    own = {key: value.detach().to("cpu").clone().contiguous() for key, value in tensors.items()}
    content = safetensors.torch.save(own, {_KEY: json.dumps(facts)})
    write_atomically(path, lambda stream: stream.write(content))


def load(
    path: Path, fingerprint: str, network: nn.Module, optimiser: torch.optim.Optimizer
) -> Position | None:
    """Put a run back as it was saved.

    Returns:
        Where it was; None if there is no file, or it is of another run or damaged: the network is then untouched.
    """
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()[_KEY])
            if facts["fingerprint"] != fingerprint:
                logger.info("'%s' is of a run with other data or another recipe, and is not continued.", path)
                return None
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
        position = _parse(facts["position"], tensors)
        network.load_state_dict(_part(tensors, "weights/"))
        optimiser.load_state_dict(_optimiser_state(tensors, optimiser))
    except (safetensors.SafetensorError, OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        logger.warning("'%s' cannot be continued (%s); training starts anew.", path, error)
        return None
    return position


def _parse(values: dict[str, Any], tensors: dict[str, Tensor]) -> Position:
    matrices = list(tensors["matrices"].numpy()) if "matrices" in tensors else []
    best = Best(**values.pop("best"), state=_part(tensors, "best/"), matrices=matrices)
    return Position(**{**values, "plateau": Plateau(**values["plateau"])}, best=best)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _optimiser_state(tensors: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _part(tensors, "optimiser/").items():
        index, name = key.split("/", 1)
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
