"""Train a promptable model or a small encoder, and write a weights file with a record of its training."""

from __future__ import annotations

import dataclasses
import logging
import platform
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from ...encoders import EncoderParts, registry
from ...encoders.text.loading import load_text_model_job
from ...encoders.text.projection_file import add_projection, text_record
from ...encoders.text_projection import TextProjection
from ...encoders.tiny import tiny
from ...encoders.weights.weights import load_state_dict
from ...errors import ConfigError, WeightsError
from ...files import parse_json
from ...files.tensor_file import read_tensors
from ...geometry import INPUT_PX
from ...jobs import Job
from ..data.instances import InstanceImage
from ..heads.checkpoint import checkpoint_path
from .clip_prompts import ClipPrompts, CropEmbeddings
from .config import PromptTuningConfig
from .prompt_tuning import save_weights, tune

logger = logging.getLogger(__name__)

RANDOM = "random"
"""Value of `start` for random initial weights."""


def tune_model(
    images: list[InstanceImage],
    output: Path,
    config: PromptTuningConfig | None = None,
    model: str = tiny.INFO.name,
    start: str | Path | None = None,
    merge: Sequence[str | Path] = (),
) -> Job[Path]:
    """Train a promptable model on images and write its weights.

    Args:
        images: Training images, see `read_instances`.
        output: Path of the `.safetensors` file, which is written when training ends. Until then, the averaged weights
            are in a `.checkpoint` file beside it, which can be used as `start`.
        config: The configuration; by default, the mask decoder is fine-tuned.
        model: Name of the model.
        start: File with the initial weights, "random" (only for `sampath-tiny` and `sampath-tiny-path`), or None for
            the published weights of the model.
        merge: Files with more weights of the model, from earlier stages or from other runs of the same stage; training
            starts from the mean of all weights (Wortsman et al. 2022, "Model soups").

    Raises:
        ConfigError: If the configuration does not apply to the model, or its text model needs the extra `text`.
        WeightsError: If `start` contains the weights of another model, or was trained with another text model.
        StorageError: If the file cannot be written.
    """
    config = config or PromptTuningConfig()
    torch.manual_seed(config.seed)
    parts, origin = yield from _load_start(model, start)
    merged = yield from _merge(parts, model, start, merge)
    if not isinstance(parts.encoder, tiny.TinyEncoder) and config.side_px != INPUT_PX:
        logger.info("%s needs whole frames, so windows have a side of %d px", model, INPUT_PX)
        config = dataclasses.replace(config, side_px=INPUT_PX)
    parts, clip = yield from _with_clip(parts, config)
    started = time.monotonic()
    result = yield from tune(parts, images, config, checkpoint_path(output), clip)
    record = {
        "model": model,
        **({"backbone": tiny.MODELS[model].backbone} if model in tiny.MODELS else {}),
        "recipe": dataclasses.asdict(config),
        "start": origin,
        **text_record(parts),
        **({"merged": merged} if merged else {}),
        **({"stopped_after": result.steps} if result.steps < config.total_steps else {}),
        **({"windows_that_fit": result.windows} if result.windows < config.windows else {}),
        "data": dict(Counter(image.kind.name for image in images)),
        "hours": round((time.monotonic() - started) / 3600, 2),
        "hardware": f"{config.device}, {torch.get_num_threads()} threads, {platform.machine()}",
        "losses": result.losses,
    }
    save_weights(output, result.weights, record, parts.encoder.stored_as)
    checkpoint_path(output).unlink(missing_ok=True)
    return output


def _load_start(model: str, start: str | Path | None) -> Job[tuple[EncoderParts, object]]:
    """Load the modules to train, and return them with the origin of their weights."""
    if "+" in model:
        raise WeightsError(f"'{model}' is a pair of encoders; tune only the first, '{model.split('+')[0]}'.")
    entry = registry[model]
    if model not in tiny.MODELS and not entry.info.promptable:
        raise ConfigError(
            f"'{model}' is not promptable; choose a promptable model, or one for the recipe dense: "
            f"{', '.join(tiny.MODELS)}."
        )
    if str(start) == RANDOM:
        if model not in tiny.MODELS:
            raise WeightsError(
                f"'{model}' cannot start from random weights, only {' and '.join(tiny.MODELS)} can; leave out --start "
                "to use its published weights."
            )
        return tiny.MODELS[model].untrained(), RANDOM
    path = None if start is None else Path(start).expanduser()
    if entry.fetch is not None:
        path = yield from entry.fetch(path)
    if model not in tiny.MODELS:
        return add_projection(entry.build(path), path), {"file": path.name if path else model}
    file = path or tiny.MODELS[model].weights
    parts = add_projection(_load_partial(tiny.MODELS[model].untrained(), file), file)
    return parts, {"file": file.name, **read_training_record(file)}


def _merge(
    parts: EncoderParts, model: str, start: str | Path | None, others: Sequence[str | Path]
) -> Job[list[object]]:
    """Average the weights of `parts` in place with the weights in `others`, and return the origins of the latter."""
    if others and str(start) == RANDOM:
        raise ConfigError(f"merge is {others[0]}, but start is '{RANDOM}'; give trained weights as start.")
    weights, origins = parts.state_dict(), []
    for number, path in enumerate(others, start=2):
        other, origin = yield from _load_start(model, path)
        if _fingerprint(other) != _fingerprint(parts):
            raise WeightsError(
                f"'{path}' and the weights to start from differ in their text prompts; merge only weights that were "
                "trained with the same text model."
            )
        origins.append(origin)
        for key, value in other.state_dict().items():
            if value.is_floating_point():
                weights[key].lerp_(value, 1 / number)
    return origins


def _fingerprint(parts: EncoderParts) -> str:
    """Return the fingerprint of the text model for text prompts; empty without text prompts."""
    return "" if parts.text_projection is None else parts.text_projection.text_model.fingerprint


def _with_clip(
    parts: EncoderParts, config: PromptTuningConfig
) -> Job[tuple[EncoderParts, ClipPrompts | None]]:
    """Load the text model, and return the parts with the layer for text prompts, which is new if they had none."""
    if config.prompt != "clip":
        return parts, None
    text_model = yield from load_text_model_job(config.text_model, config.text_weights or None, config.device)
    projection = parts.text_projection
    if projection is None:
        projection = TextProjection(text_model.identity)
    projection.check(text_model.identity)
    parts = dataclasses.replace(parts, text_projection=projection)
    return parts, ClipPrompts(CropEmbeddings(text_model, config.seed), projection)


def _load_partial(parts: EncoderParts, file: Path) -> EncoderParts:
    """Load weights into new modules; modules that are missing in the file keep their random weights."""
    initial, stored = parts.state_dict(), load_state_dict(file)
    missing = sorted({".".join(key.split(".")[:2]) for key in set(initial) - set(stored)})
    if missing:
        logger.warning("%s has no weights for %s, which start from random weights", file, ", ".join(missing))
    return tiny.load_parts(parts, initial | stored, str(file))


def read_training_record(path: Path) -> dict[str, object]:
    """Read the training record that `tune_model` stored with the weights; empty for other files.

    Raises:
        WeightsError: If the file is damaged.
    """
    try:
        record = parse_json(read_tensors(path, mapped=True).metadata.get("sampath", "{}"))
    except (ValueError, OSError) as error:
        raise WeightsError(
            f"The training record of '{path}' cannot be read ({error}); copy the file again."
        ) from error
    return record if isinstance(record, dict) else {}
