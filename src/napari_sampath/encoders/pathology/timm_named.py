"""Any network of timm by its name: `timm:convnext_tiny.in12k`."""

from __future__ import annotations

import difflib
from functools import partial
from typing import TYPE_CHECKING, Any

import timm
import torch

from ...errors import UnknownNameError, WeightsError, WeightsMissingError
from ...jobs import Job, Progress, run
from ..base import EncoderEntry, EncoderInfo, EncoderParts, registry
from ..weights.hub import HUB, HubFile, locate_hub_job
from ..weights.weights import digest, load_state_dict
from .timm_encoder import TimmEncoder, choose_stage

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

PREFIX = "timm:"


@registry.register_family(PREFIX)
def entry(name: str) -> EncoderEntry:
    """Make the catalogue's entry of a network of timm.

    Args:
        name: "timm:" and a name as timm has it, with or without the tag of its weights.

    Raises:
        UnknownNameError: If timm has no such network, or no such weights of it.
    """
    config = _config(name)
    info = EncoderInfo(
        name=name,
        summary=f"{config.architecture} of timm, weights '{config.tag or 'your own'}'.",
        licence=config.license or "see the page of the weights",
        source_url=f"{HUB}/{config.hf_hub_id}"
        if config.hf_hub_id
        else "https://github.com/huggingface/pytorch-image-models",
        promptable=False,
        size_mb=0.0,
    )
    return EncoderEntry(info, partial(build, info), partial(fetch, info), _file(name))


def _config(name: str) -> Any:
    """Return what timm knows of a network's weights."""
    wanted = name.removeprefix(PREFIX)
    architecture, _, tag = wanted.partition(".")
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        hint = f" Did you mean {' or '.join(repr(PREFIX + match) for match in close)}?" if close else ""
        raise UnknownNameError(f"timm has no network '{architecture}'.{hint} timm.list_models() lists them.")
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and wanted not in tagged:
        raise UnknownNameError(
            f"timm has no weights '{tag}' for '{architecture}'; "
            f"available: {', '.join(match.partition('.')[2] for match in tagged) or 'none'}."
        )
    return timm.get_pretrained_cfg(wanted)


def _file(name: str) -> str:
    return name.replace(":", "-") + ".safetensors"


def fetch(info: EncoderInfo, explicit: Path | None = None) -> Job[Path]:
    """Find the weights: a file or folder that the user names, in the cache, or on the hub.

    Raises:
        WeightsMissingError: If they are not here and cannot be downloaded.
    """
    config = _config(info.name)
    if explicit is None and not config.hf_hub_id:
        yield Progress(0, 0, f"Looking up {info.name}", "bytes")
        raise WeightsMissingError(
            f"timm offers no weights for '{info.name}'; name a file of your own that holds its state_dict."
        )
    return (yield from locate_hub_job(HubFile(_file(info.name), config.hf_hub_id or "", 0), explicit))


def build(info: EncoderInfo, path: Path | None = None) -> EncoderParts:
    """Build the encoder with timm's weights, or those of a file.

    Raises:
        UnknownNameError: If the network has no maps that could be features.
        WeightsMissingError: If the weights are not here and cannot be downloaded.
        WeightsError: If the file is unreadable, or of another network.
    """
    config = _config(info.name)
    with torch.device("meta"):
        probe: Any = timm.create_model(info.name.removeprefix(PREFIX), num_classes=0)
    stages = getattr(probe, "feature_info", None)
    if not stages or not hasattr(probe, "forward_intermediates"):
        raise UnknownNameError(
            f"timm's '{info.name.removeprefix(PREFIX)}' gives no maps of its stages; "
            "choose a vision transformer or a convolutional network of timm."
        )
    stage, input_px = choose_stage([int(one["reduction"]) for one in stages])
    if path is None or not path.is_file():
        path = run(fetch(info, path))
    state = load_state_dict(path)
    network = _load(info, config, state, input_px, path)
    weights_digest = digest(network.state_dict())
    encoder = TimmEncoder(info, network, weights_digest, config.mean, config.std, input_px, stage)
    return EncoderParts(encoder.requires_grad_(False).eval())


def _load(info: EncoderInfo, config: Any, state: dict[str, Tensor], input_px: int, path: Path) -> Any:
    """Let timm build the network and bring weights to it: it knows how to resize positions for each."""
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
            f"'{path}' does not fit timm's '{config.architecture}' ({first.rstrip('. ')}); "
            f"give the file of {info.source_url}."
        ) from error
    return network.eval()
