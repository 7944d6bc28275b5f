"""Processes and devices of a training run, through Lightning Fabric."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from ...errors import ConfigError
from .config import TrainingConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def launch(config: TrainingConfig, device: torch.device) -> Fabric:
    """Start or join the processes of a training run on `device`, or on several devices of its type.

    `torchrun` sets the number of processes, otherwise it is `config.devices`; for more than one, Fabric starts this
    program again for each of the others.

    Raises:
        ConfigError: If the batch size is not a multiple of the number of processes.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    per_node = int(os.environ["LOCAL_WORLD_SIZE"]) if torchrun else config.devices
    nodes = int(os.environ["WORLD_SIZE"]) // per_node if torchrun else 1
    world = per_node * nodes
    if config.batch_size % world:
        raise ConfigError(
            f"batch_size is {config.batch_size} for {world} processes; give a multiple of {world}."
        )
    single_gpu = world == 1 and device.type == "cuda"
    fabric = Fabric(
        accelerator=device.type,
        devices=[device.index or 0] if single_gpu else per_node,
        num_nodes=nodes,
        # Some heads have weights that exist only to load checkpoints of their reference.
        strategy="auto" if world == 1 else DDPStrategy(find_unused_parameters=True),
        precision="32-true" if config.head_precision == "float32" else "bf16-mixed",
    )
    fabric.launch()
    return fabric
