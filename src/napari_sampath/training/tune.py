"""`sampath tune`: train a promptable model on a folder of tissue and keep it with all that is known of it."""

from __future__ import annotations

import dataclasses
import json
import logging
import platform
import time
from pathlib import Path

import torch

from ..encoders import EncoderParts, tiny
from ..encoders.weights import load_state_dict
from ..jobs import Job
from .checkpoint import checkpoint_path
from .instances import SETS, InstanceImage, read_instances
from .prompt_tuning import PromptTuningConfig, save_weights, tune

logger = logging.getLogger(__name__)


def tune_model(
    data: Path,
    output: Path,
    config: PromptTuningConfig | None = None,
    start: Path | None = None,
) -> Job[Path]:
    """Train `sampath-tiny` and write its weights.

    Args:
        data: Folder with the tissue sets (see `training.instances`); only their train splits are read.
        output: The `.safetensors` file, written when training ends. Until then the averaged weights lie beside
            it, in a `.checkpoint` that `start` takes, too.
        config: The recipe; the default trains from scratch on two cores.
        start: Weights to start from instead of random ones.

    Returns:
        `output`.

    Raises:
        DatasetError: If the data cannot be read.
        WeightsError: If `start` is of another model.
        StorageError: If the file cannot be written.
    """
    config = config or PromptTuningConfig()
    torch.manual_seed(config.seed)
    parts = tiny.build_untrained()
    if start is not None:
        parts = _start(parts, start)
    images = read_instances(data, "train")
    began = time.monotonic()
    result = yield from tune(parts, images, config, save=checkpoint_path(output))
    facts = {
        "model": tiny.INFO.name,
        "backbone": tiny.BACKBONE,
        "recipe": dataclasses.asdict(config),
        "start": "random" if start is None else {"file": start.name, **read_facts(start)},
        "data": data_summary(images),
        "hours": round((time.monotonic() - began) / 3600, 2),
        "hardware": f"{config.device}, {torch.get_num_threads()} threads, {platform.machine()}",
        "losses": result.losses,
    }
    save_weights(output, result.weights, facts)
    checkpoint_path(output).unlink(missing_ok=True)
    return output


def _start(parts: EncoderParts, file: Path) -> EncoderParts:
    """Load weights to start from; parts that were added to the network since keep their fresh values."""
    fresh, found = tiny.state_dict(parts), load_state_dict(file)
    added = sorted({".".join(key.split(".")[:2]) for key in set(fresh) - set(found)})
    if added:
        logger.warning("%s has no weights for %s: these start fresh", file, ", ".join(added))
    return tiny.load_parts(parts, fresh | found, str(file))


def data_summary(images: list[InstanceImage]) -> dict[str, int]:
    """Count images by kind, in the order of `SETS`."""
    kinds = dict.fromkeys(source.kind for source in SETS)
    return {kind: sum(image.kind == kind for image in images) for kind in kinds}


def read_facts(path: Path) -> dict[str, object]:
    """Read what `tune_model` wrote beside the weights; empty for a file made otherwise."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    facts: dict[str, object] = json.loads(metadata.get("sampath", "{}"))
    return facts
