"""The run of the Train dock as a `sampath` command and as Python."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.script_view import Script, command_line
from ..viewer.jobs import ModelChoice

if TYPE_CHECKING:
    from ...training import TrainingConfig


def train_script(folder: Path, kind: str, config: TrainingConfig, choice: ModelChoice) -> Script:
    """Describe a training run.

    Args:
        folder: The project.
        kind: The kind of head.
        config: The settings; those that are not the default are written.
        choice: The model whose encoder is used.
    """
    default = type(config)()
    changed = {
        field.name: getattr(config, field.name)
        for field in fields(config)
        if getattr(config, field.name) != getattr(default, field.name)
    }
    changed = {"epochs": config.epochs, **changed}
    output = f"{folder.name}-{kind}.safetensors"
    flags: dict[str, object] = {"--data": folder, "--head": kind, "--model": choice.name}
    flags |= {
        "--weights": choice.weights,
        "--device": None if choice.local_device == "auto" else choice.local_device,
    }
    flags |= {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    settings = ", ".join(f"{name}={value!r}" for name, value in changed.items())
    weights = "" if choice.weights is None else f", weights={str(choice.weights)!r}"
    weights += "" if choice.local_device == "auto" else f", device={choice.local_device!r}"
    python = f"""import napari_sampath as ns
from napari_sampath.training import TrainingConfig

config = TrainingConfig({settings})
model = ns.load_model({choice.name!r}{weights})
head = ns.train({str(folder)!r}, {kind!r}, config, model, {output!r})
"""
    return Script(
        command_line("train", (), {**flags, "--output": output}),
        python,
        "Annotations of the last two seconds are saved to the project first; the run uses what is in its folder.",
    )
