"""`sampath tune`: train a promptable model or a small encoder on tissue, and keep it with all that is known of it."""

from __future__ import annotations

import dataclasses
import json
import logging
import platform
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from ...encoders import EncoderParts, registry
from ...encoders.tiny import tiny
from ...encoders.weights.weights import load_state_dict
from ...errors import ConfigError, WeightsError
from ...geometry import INPUT_PX
from ...jobs import Job
from ..data.instances import InstanceImage
from ..heads.checkpoint import checkpoint_path
from .config import PromptTuningConfig
from .prompt_tuning import save_weights, tune

logger = logging.getLogger(__name__)

RANDOM = "random"
"""What to start from, where nothing was learned before."""


def tune_model(
    images: list[InstanceImage],
    output: Path,
    config: PromptTuningConfig | None = None,
    model: str = tiny.INFO.name,
    start: str | Path | None = None,
    merge: Sequence[str | Path] = (),
) -> Job[Path]:
    """Train a promptable model and write its weights.

    Args:
        images: Images to learn from, see `read_instances`.
        output: The `.safetensors` file, written when training ends. Until then the averaged weights lie beside
            it, in a `.checkpoint` that `start` takes, too.
        config: The recipe; the default fine-tunes the mask decoder.
        model: Name of the model; the file is loaded as weights of it.
        start: Weights of that model to start from, "random" for `sampath-tiny` and `sampath-tiny-path` from
            scratch, or None for the weights that the model is known by.
        merge: More weights of that model, of stages before or of other runs from the same stage: training begins with
            the mean of all (Wortsman et al. 2022, "Model soups").

    Returns:
        `output`.

    Raises:
        UnknownNameError: If there is no such model.
        ConfigError: If the recipe has steps with prompts and the model answers none, or names weights that
            it does not have.
        WeightsError: If `start` is of another model.
        StorageError: If the file cannot be written.
    """
    config = config or PromptTuningConfig()
    torch.manual_seed(config.seed)
    parts, origin = yield from _start(model, start)
    merged = yield from _merge(parts, model, start, merge)
    if not isinstance(parts.encoder, tiny.TinyEncoder) and config.side_px != INPUT_PX:
        logger.info("%s takes whole frames: windows are %d px", model, INPUT_PX)
        config = dataclasses.replace(config, side_px=INPUT_PX)
    began = time.monotonic()
    result = yield from tune(parts, images, config, save=checkpoint_path(output))
    facts = {
        "model": model,
        **({"backbone": tiny.MODELS[model].backbone} if model in tiny.MODELS else {}),
        "recipe": dataclasses.asdict(config),
        "start": origin,
        **({"merged": merged} if merged else {}),
        "data": dict(Counter(image.kind.name for image in images)),
        "hours": round((time.monotonic() - began) / 3600, 2),
        "hardware": f"{config.device}, {torch.get_num_threads()} threads, {platform.machine()}",
        "losses": result.losses,
    }
    save_weights(output, result.weights, facts, parts.encoder.stored_as)
    checkpoint_path(output).unlink(missing_ok=True)
    return output


def _start(model: str, start: str | Path | None) -> Job[tuple[EncoderParts, object]]:
    """Build the parts to train, and say where their weights are from."""
    if "+" in model:
        raise WeightsError(
            f"'{model}' is a pair of encoders; tune the first of them, '{model.split('+')[0]}'."
        )
    entry = registry[model]
    if model not in tiny.MODELS and not entry.info.promptable:
        raise ConfigError(
            f"'{model}' answers no prompts; choose a promptable model, or one that the recipe dense trains: "
            f"{', '.join(tiny.MODELS)}."
        )
    if str(start) == RANDOM:
        if model not in tiny.MODELS:
            raise WeightsError(
                f"'{model}' cannot start from random weights here, only {' and '.join(tiny.MODELS)} can; leave "
                "--start out to begin with its published weights."
            )
        return tiny.MODELS[model].untrained(), RANDOM
    path = None if start is None else Path(start).expanduser()
    if entry.fetch is not None:
        path = yield from entry.fetch(path)
    if model not in tiny.MODELS:
        return entry.build(path), {"file": path.name if path else model}
    file = path or tiny.MODELS[model].weights
    return _grown(tiny.MODELS[model].untrained(), file), {"file": file.name, **read_facts(file)}


def _merge(
    parts: EncoderParts, model: str, start: str | Path | None, others: Sequence[str | Path]
) -> Job[list[object]]:
    """Change weights to the mean of them and of others, and say where the others are from."""
    if others and str(start) == RANDOM:
        raise ConfigError(f"merge is {others[0]}, and start is '{RANDOM}'; name finished weights with start.")
    weights, origins = parts.state_dict(), []
    for number, path in enumerate(others, start=2):
        other, origin = yield from _start(model, path)
        origins.append(origin)
        for key, value in other.state_dict().items():
            if value.is_floating_point():
                weights[key].lerp_(value, 1 / number)
    return origins


def _grown(parts: EncoderParts, file: Path) -> EncoderParts:
    """Load weights to start from; parts that were added to the network since keep their fresh values."""
    fresh, found = parts.state_dict(), load_state_dict(file)
    added = sorted({".".join(key.split(".")[:2]) for key in set(fresh) - set(found)})
    if added:
        logger.warning("%s has no weights for %s: these start fresh", file, ", ".join(added))
    return tiny.load_parts(parts, fresh | found, str(file))


def read_facts(path: Path) -> dict[str, object]:
    """Read what `tune_model` wrote beside the weights; empty for a file made otherwise."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    facts: dict[str, object] = json.loads(metadata.get("sampath", "{}"))
    return facts
