"""Build text models with open_clip from local files."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor

from ...config import resolve_device
from ...errors import WeightsError
from ...jobs import Job, Progress, run
from ..weights.weights import load_state_dict
from .extra import check_transformers, import_open_clip
from .files import TextFiles, locate_text_job
from .state_names import convert_names, is_transformers_clip
from .text_model import TextModel


def load_text_model(name: str, weights: str | Path | None = None, device: str = "auto") -> TextModel:
    """Load a model that compares images with texts; needs the extra `text`.

    Args:
        name: "biomedclip", "plip" or "quiltnet"; "hf-hub:owner/name"; a folder with a model that open_clip has saved;
            or the name of an architecture of open_clip, with `weights`.
        weights: File with the weights; the published weights if left out.
        device: "auto", or a torch device name.

    Raises:
        ConfigError: If the extra is not installed.
        UnknownNameError: If there is no such model.
        WeightsMissingError: If a file is missing and cannot be downloaded, for example without access to a gated model.
        WeightsError: If a file is damaged, or belongs to another model.
    """
    return run(load_text_model_job(name, weights, device))


def load_text_model_job(name: str, weights: str | Path | None = None, device: str = "auto") -> Job[TextModel]:
    """Make a job that loads a text model and reports the download of its files; see `load_text_model`."""
    target = resolve_device(device)
    files = yield from locate_text_job(name, None if weights is None else Path(weights).expanduser())
    yield Progress(0, 0, f"Loading {name}", "")
    open_clip = import_open_clip(name)
    if files.towers:
        check_transformers(name)
    # The text encoder and the tokenizer of Hugging Face are built from a folder with files of fixed names.
    with tempfile.TemporaryDirectory() as folder:
        for file_name, path in files.towers.items():
            shutil.copyfile(path, Path(folder, file_name))
        try:
            network = _build(open_clip, files, folder)
            tokenize = _tokenizer(open_clip, files, folder)
            transform = _transform(files, network)
        except (
            TypeError,
            ValueError,
            KeyError,
            AttributeError,
            OSError,
            RuntimeError,
            AssertionError,
        ) as error:
            raise WeightsError(
                f"The configuration of the text model '{name}' is not one that open_clip can build "
                f"({_first_line(error)}); update open_clip, or choose another model."
            ) from error
    _load_weights(open_clip, network, files.weights, name)
    return TextModel(name, network, transform, tokenize, target)


def _build(open_clip: Any, files: TextFiles, folder: str) -> Any:
    """Build the network with random weights.

    `open_clip.create_model` is not used, because it logs through the root logger and downloads files itself.
    """
    config: dict[str, Any] = deepcopy(dict(files.config["model_cfg"]))
    text, vision = config["text_cfg"], config["vision_cfg"]
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    own_text = bool(text.get("hf_model_name"))
    if own_text:
        text |= {"hf_model_name": folder, "hf_model_pretrained": False}
    custom = config.pop("custom_text", False) or own_text
    if "multimodal_cfg" in config:
        return open_clip.CoCa(**config)
    return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)


def _tokenizer(open_clip: Any, files: TextFiles, folder: str) -> Callable[[list[str]], Tensor]:
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    text = files.config["model_cfg"]["text_cfg"]
    length = text.get("context_length", DEFAULT_CONTEXT_LENGTH)
    options = text.get("tokenizer_kwargs") or {}
    tokenizer: Callable[[list[str]], Tensor] = (
        HFTokenizer(folder, context_length=length, tokenizer_mode=text.get("tokenizer_mode"), **options)
        if text.get("hf_tokenizer_name")
        else open_clip.SimpleTokenizer(context_length=length, **options)
    )
    return tokenizer


def _transform(files: TextFiles, network: Any) -> Callable[..., Tensor]:
    from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

    stated = merge_preprocess_dict(PreprocessCfg(), files.config["preprocess_cfg"])
    size = getattr(network.visual, "image_size", None) or stated["size"]
    transform: Callable[..., Tensor] = image_transform_v2(
        PreprocessCfg(**stated | {"size": size}), is_train=False
    )
    return transform


def _load_weights(open_clip: Any, network: Any, path: Path, name: str) -> None:
    """Load a file with the names of open_clip, OpenAI or transformers.

    Raises:
        WeightsError: If the file is damaged, or belongs to another model.
    """
    state = load_state_dict(path)
    try:
        if is_transformers_clip(state):
            network.load_state_dict(convert_names(state))
        else:
            open_clip.load_checkpoint(network, str(path))
    except (
        RuntimeError,
        LookupError,
        AttributeError,
        ValueError,
        AssertionError,
        pickle.UnpicklingError,
    ) as error:
        raise WeightsError(
            f"'{path}' does not match the text model '{name}' ({_first_line(error)}); use the weights published "
            "with its configuration."
        ) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[1] if len(lines) > 1 else lines[0] if lines else type(error).__name__).rstrip(". ")[:200]
