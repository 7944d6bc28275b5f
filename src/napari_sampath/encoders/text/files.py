"""The files of a text model: a folder, a repository of the Hugging Face Hub, or a file with weights."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...config import load_config
from ...errors import UnknownNameError, WeightsError, WeightsMissingError
from ...jobs import Job
from ..weights.hub import HubFile, locate_hub_job
from .extra import import_open_clip

CONFIG = "open_clip_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
"""Names of weights files, in the order in which they are looked for."""
TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
"""Files of a Hugging Face tokenizer; one of the first two is needed."""
HUB_PREFIX = "hf-hub:"
FOLDER_PREFIX = "local-dir:"


@dataclass(frozen=True, slots=True)
class Published:
    """A model on the Hub."""

    repository: str
    """Name of the repository, "owner/name"."""
    architecture: str = ""
    """open_clip's name of the architecture; empty if the repository contains open_clip's configuration file."""
    weights: tuple[str, ...] = WEIGHTS[:2]
    """Possible names of the weights file."""


PUBLISHED = {
    "biomedclip": Published("microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"),
    "plip": Published("vinid/plip", "ViT-B-32-quickgelu", ("pytorch_model.bin",)),
    "quiltnet": Published("wisdomik/QuiltNet-B-32"),
}
"""Models for pathology and biomedicine that can be chosen by a short name."""


@dataclass(frozen=True, slots=True)
class TextFiles:
    """The files from which a text model is built."""

    config: Mapping[str, Any]
    """Content of open_clip's configuration file: {"model_cfg": {...}, "preprocess_cfg": {...}}."""
    weights: Path
    towers: Mapping[str, Path] = field(default_factory=dict)
    """Name -> path of the configuration and tokenizer files of a Hugging Face text encoder; empty for open_clip's."""


def is_downloaded(name: str) -> bool:
    """Return whether the weights of a model are on this machine; True for a folder."""
    published = PUBLISHED.get(name)
    return published is None or any(
        _is_here(_hub_file(published.repository, file)) for file in published.weights
    )


def locate_text_job(name: str, weights: Path | None = None) -> Job[TextFiles]:
    """Find the files of a text model, or download them with the user's token.

    Args:
        name: A key of `PUBLISHED`, "hf-hub:owner/name", a folder with open_clip's configuration file, or the name of
            an architecture of open_clip.
        weights: Weights file of an architecture; for a model of the Hub, a file or folder to use instead.

    Raises:
        ConfigError: If open_clip is not installed.
        UnknownNameError: If there is no such model.
        WeightsMissingError: If a file is missing and cannot be downloaded.
        WeightsError: If the configuration file is unreadable.
    """
    open_clip = import_open_clip(name)
    folder = Path(name.removeprefix(FOLDER_PREFIX)).expanduser()
    published = PUBLISHED.get(name.lower())
    if name.startswith(HUB_PREFIX):
        published = Published(name.removeprefix(HUB_PREFIX))
    if published is not None:
        return (yield from _from_hub_job(open_clip, published, weights))
    if folder.is_dir():
        return (yield from _from_folder_job(folder))
    if name in open_clip.list_models():
        if weights is None or not weights.is_file():
            raise WeightsMissingError(
                f"'{name}' is an architecture of open_clip without weights; give a file with its weights."
            )
        return (yield from _with_towers_job(_architecture(open_clip, name), weights, None))
    names = [*PUBLISHED, *open_clip.list_models()]
    close = difflib.get_close_matches(name, names, n=3)
    hint = f"; did you mean {' or '.join(map(repr, close))}? Choose" if close else "; choose"
    raise UnknownNameError(
        f"There is no text model '{name}'{hint} {', '.join(PUBLISHED)}, hf-hub:OWNER/NAME, a folder with {CONFIG}, or "
        "an architecture of open_clip."
    )


def _architecture(open_clip: Any, name: str) -> dict[str, Any]:
    return {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}


def _from_hub_job(open_clip: Any, published: Published, weights: Path | None) -> Job[TextFiles]:
    if published.repository.count("/") != 1:
        raise UnknownNameError(
            f"'{HUB_PREFIX}{published.repository}' names no repository; write {HUB_PREFIX}OWNER/NAME."
        )
    if published.architecture:
        config = _architecture(open_clip, published.architecture)
    else:
        inside = weights if weights is not None and weights.is_dir() else None
        config = _read_config((yield from locate_hub_job(_hub_file(published.repository, CONFIG), inside)))
    path = yield from _first_job(published.repository, published.weights, weights)
    return (yield from _with_towers_job(config, path, None))


def _from_folder_job(folder: Path) -> Job[TextFiles]:
    if not (folder / CONFIG).is_file():
        raise WeightsMissingError(
            f"The folder '{folder}' contains no {CONFIG}; choose the folder of a model that open_clip has saved."
        )
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise WeightsMissingError(
            f"The folder '{folder}' contains no weights; put {' or '.join(WEIGHTS[:2])} into it."
        )
    return (yield from _with_towers_job(_read_config(folder / CONFIG), path, folder))


def _with_towers_job(config: dict[str, Any], weights: Path, folder: Path | None) -> Job[TextFiles]:
    """Add the files of a Hugging Face text encoder and its tokenizer, if the model has them."""
    text = config["model_cfg"]["text_cfg"]
    towers: dict[str, Path] = {}
    if text.get("hf_model_name"):
        towers["config.json"] = yield from _optional_job(text["hf_model_name"], "config.json", folder, True)
    if text.get("hf_tokenizer_name"):
        for name in TOKENIZER:
            needed = name == TOKENIZER[1] and TOKENIZER[0] not in towers
            path = yield from _optional_job(text["hf_tokenizer_name"], name, folder, needed)
            if path is not None:
                towers[name] = path
    return TextFiles(config, weights, towers)


def _optional_job(repository: str, name: str, folder: Path | None, needed: bool) -> Job[Any]:
    """Find a file in a folder or on the Hub; return None if it is neither there nor needed."""
    if folder is not None and (folder / name).is_file():
        return folder / name
    try:
        return (yield from locate_hub_job(_hub_file(repository, name)))
    except WeightsMissingError:
        if needed:
            raise
        return None


def _first_job(repository: str, names: Sequence[str], explicit: Path | None) -> Job[Path]:
    """Find the first weights file of a repository, preferring one that is on this machine."""
    files = sorted((_hub_file(repository, name) for name in names), key=lambda file: not _is_here(file))
    for file in files[:-1]:
        try:
            return (yield from locate_hub_job(file, explicit))
        except WeightsMissingError:
            continue
    return (yield from locate_hub_job(files[-1], explicit))


def _hub_file(repository: str, name: str) -> HubFile:
    return HubFile(f"{repository.replace('/', '--')}--{name}", repository, 0, file=name)


def _is_here(file: HubFile) -> bool:
    return (load_config().weights_dir / file.name).exists() or file.cached() is not None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
        towers = [config["model_cfg"][part] for part in ("vision_cfg", "text_cfg")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"'{path}' is not a configuration file of open_clip ({' '.join(str(error).split())}); download it again."
        ) from error
    if not all(isinstance(tower, dict) for tower in towers):
        raise WeightsError(f"'{path}' is not a configuration file of open_clip; download it again.")
    return {"model_cfg": config["model_cfg"], "preprocess_cfg": config.get("preprocess_cfg") or {}}
