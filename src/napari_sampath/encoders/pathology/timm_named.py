"""Any timm model by name: `timm:convnext_tiny.in12k`."""

from __future__ import annotations

import difflib
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import UnknownNameError, WeightsError, WeightsMissingError
from ...jobs import Job, Progress, run
from ..base import EncoderEntry, EncoderInfo, EncoderParts, registry
from ..weights.download import find_explicit
from ..weights.hub import HUB, HubFile, locate_hub_job
from ..weights.weights import digest, load_state_dict
from .timm_encoder import TimmEncoder, choose_stage

PREFIX = "timm:"
_TIMM = "https://github.com/huggingface/pytorch-image-models"


@registry.register_family(PREFIX)
def entry(name: str) -> EncoderEntry:
    """Return the registry entry of a timm model.

    Args:
        name: "timm:" followed by timm's name of the model, with or without a weights tag.

    Raises:
        UnknownNameError: If timm has no such model, or no weights with this tag.
    """
    config = _config(name)
    info = EncoderInfo(
        name=name,
        summary=f"{config.architecture} of timm, weights '{config.tag or 'your own'}'.",
        licence=config.license or "see the page of the weights",
        source_url=f"{HUB}/{config.hf_hub_id}" if config.hf_hub_id else _TIMM,
        promptable=False,
        size_mb=0.0,
    )
    hub_file = HubFile(_file_name(name), config.hf_hub_id, 0) if config.hf_hub_id else None
    return EncoderEntry(
        info,
        partial(build, info, hub_file),
        partial(fetch, info, hub_file),
        _file_name(name),
        hub_file.cached if hub_file else None,
    )


def _config(name: str) -> Any:
    """Return timm's configuration of a model and its weights."""
    import timm  # takes a second, and imports torchvision

    model = name.removeprefix(PREFIX)
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        hint = f" Did you mean {' or '.join(repr(PREFIX + match) for match in close)}?" if close else ""
        raise UnknownNameError(f"timm has no model '{architecture}'.{hint} See timm.list_models().")
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and model not in tagged:
        raise UnknownNameError(
            f"timm has no weights '{tag}' for '{architecture}'; "
            f"available: {', '.join(match.partition('.')[2] for match in tagged) or 'none'}."
        )
    return timm.get_pretrained_cfg(model)


def _file_name(name: str) -> str:
    return name.replace(":", "-") + ".safetensors"


def fetch(info: EncoderInfo, hub_file: HubFile | None, explicit: Path | None = None) -> Job[Path]:
    """Find the weights at a given path (file or folder) or in the cache, or download them from the Hub.

    Raises:
        WeightsMissingError: If the weights are not on this machine and cannot be downloaded.
    """
    if hub_file is not None:
        return (yield from locate_hub_job(hub_file, explicit))
    path = None if explicit is None else find_explicit(explicit, (_file_name(info.name),))
    if path is None:
        yield Progress(0, 0, f"Looking up {info.name}", "bytes")
        raise WeightsMissingError(
            f"timm publishes no weights for '{info.name}'; give your own file with the model's state_dict."
        )
    return path


def build(info: EncoderInfo, hub_file: HubFile | None, path: Path | None = None) -> EncoderParts:
    """Build the encoder with timm's weights or from a file.

    Raises:
        UnknownNameError: If the model does not provide feature maps.
        WeightsMissingError: If the weights are not on this machine and cannot be downloaded.
        WeightsError: If the file is unreadable or belongs to another model.
    """
    import timm

    config = _config(info.name)
    with torch.device("meta"):
        probe: Any = timm.create_model(info.name.removeprefix(PREFIX), num_classes=0)
    stages = getattr(probe, "feature_info", None)
    if not stages or not hasattr(probe, "forward_intermediates"):
        raise UnknownNameError(
            f"timm's '{info.name.removeprefix(PREFIX)}' does not provide feature maps; "
            "choose a vision transformer or a convolutional network."
        )
    index, input_px = choose_stage([int(stage["reduction"]) for stage in stages])
    if path is None or not path.is_file():
        path = run(fetch(info, hub_file, path))
    state = load_state_dict(path)
    network = _load(info, config, state, input_px, path)
    weights_digest = digest(network.state_dict())
    encoder = TimmEncoder(info, network, weights_digest, config.mean, config.std, input_px, index)
    return EncoderParts(encoder.requires_grad_(False).eval())


def _load(info: EncoderInfo, config: Any, state: dict[str, Tensor], input_px: int, path: Path) -> Any:
    """Build the network and load its weights with timm, which resizes the position embedding."""
    import timm

    classifiers = [config.classifier] if isinstance(config.classifier, str) else config.classifier or ()
    heads = tuple(f"{name}." for name in classifiers)
    body = {key: value.float() for key, value in state.items() if not key.startswith(heads)}
    size = {"img_size": input_px} if config.fixed_input_size else {}
    try:
        network: Any = timm.create_model(
            info.name.removeprefix(PREFIX),
            pretrained=True,
            num_classes=0,
            pretrained_cfg_overlay={"state_dict": body, "num_classes": 0},
            **size,
        )
    except (RuntimeError, KeyError, AttributeError) as error:
        first = next((line.strip() for line in str(error).splitlines()[1:]), str(error))
        raise WeightsError(
            f"'{path}' does not match timm's '{config.architecture}' ({first.rstrip('. ')}); "
            f"use the file from {info.source_url}."
        ) from error
    return network.eval()
