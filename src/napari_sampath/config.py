"""Where things are kept and on what they run: argument > environment > file > default.

The file is `config.json` in the user's configuration folder, with the field names of `Config`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from .errors import ConfigError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_APP = "napari-sampath"
_FILE = "config.json"

PRECISIONS = ("float32", "bfloat16", "float16")
"""Arithmetic an encoder may run in; prompts are always answered in float32."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of one process."""

    cache_dir: Path
    """Folder for downloaded weights, cached features and journals. Environment: SAMPATH_CACHE."""
    device: str
    """"auto", "cpu", "cuda", "cuda:1", "mps". Environment: SAMPATH_DEVICE."""
    cache_limit_bytes: int
    """Size limit of the feature cache on disk. Environment: SAMPATH_CACHE_LIMIT_BYTES."""
    precision: str = "auto"
    """Arithmetic of encoders, "auto" or one of `PRECISIONS`. Environment: SAMPATH_PRECISION."""

    @property
    def weights_dir(self) -> Path:
        """Folder in which downloaded weights lie and where a user may put files by hand."""
        return self.cache_dir / "weights"

    @property
    def features_dir(self) -> Path:
        """Folder of the disk tier of the feature store."""
        return self.cache_dir / "features"

    @property
    def sessions_dir(self) -> Path:
        """Folder of the annotation journals."""
        return self.cache_dir / "sessions"


_overrides: ContextVar[dict[str, object] | None] = ContextVar("_overrides", default=None)


@contextlib.contextmanager
def overriding(**settings: object) -> Iterator[None]:
    """Let settings, by field name of `Config`, take precedence in `load_config` within the block; None has no effect.

    Only the calling thread is affected; neither the environment nor the settings of other threads change.
    """
    token = _overrides.set(settings)
    try:
        yield
    finally:
        _overrides.reset(token)


def load_config(**flags: object) -> Config:
    """Resolve the settings.

    Args:
        **flags: Values given by the caller, by field name of `Config`; None means not given.

    Raises:
        ConfigError: If a value is not allowed.
    """
    defaults: dict[str, object] = {
        "cache_dir": platformdirs.user_cache_dir(_APP),
        "device": "auto",
        "cache_limit_bytes": 20 * 2**30,
        "precision": "auto",
    }
    environment = {
        "cache_dir": os.environ.get("SAMPATH_CACHE"),
        "device": os.environ.get("SAMPATH_DEVICE"),
        "cache_limit_bytes": os.environ.get("SAMPATH_CACHE_LIMIT_BYTES"),
        "precision": os.environ.get("SAMPATH_PRECISION"),
    }
    values: dict[str, object] = {}
    for source in (defaults, _read_config(), environment, _overrides.get() or {}, flags):
        values.update({key: value for key, value in source.items() if value is not None})
    unknown = set(values) - {field.name for field in fields(Config)}
    if unknown:
        raise ConfigError(f"There is no setting '{sorted(unknown)[0]}'; allowed: {', '.join(defaults)}.")
    try:
        limit = int(str(values["cache_limit_bytes"]))
    except ValueError:
        raise ConfigError(
            f"cache_limit_bytes is '{values['cache_limit_bytes']}'; give a whole number of bytes."
        ) from None
    cache_dir = Path(str(values["cache_dir"])).expanduser()
    return Config(cache_dir, str(values["device"]), limit, _precision(str(values["precision"])))


def settings_file(name: str) -> Path:
    """Return the place of one of the user's settings files, which need not be there."""
    return Path(platformdirs.user_config_dir(_APP)) / name


def read_settings(name: str) -> dict[str, object]:
    """Read one of the user's settings files, a JSON object; one that is missing or broken is empty."""
    path = settings_file(name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        # A broken settings file must never keep a pathologist from working.
        logger.warning("The settings file %s is ignored: %s", path, error)
        return {}
    if not isinstance(content, dict):
        logger.warning("The settings file %s is ignored: it is no JSON object.", path)
        return {}
    return content


def _read_config() -> dict[str, object]:
    content = read_settings(_FILE)
    known = {field.name for field in fields(Config)}
    for key in set(content) - known:
        logger.warning(
            "The setting '%s' in %s is ignored; known: %s",
            key,
            settings_file(_FILE),
            ", ".join(sorted(known)),
        )
    return {key: value for key, value in content.items() if key in known}


def resolve_device(name: str = "auto") -> torch.device:
    """Turn a device name into a device that this machine has.

    Args:
        name: "auto" (CUDA, then Apple's MPS, then CPU), or a torch device name. "cuda" without a number is the
            device of this process where several were launched together (LOCAL_RANK).

    Raises:
        ConfigError: If the device does not exist here.
    """
    import torch

    available = ["cpu"]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        name = "cuda" if "cuda" in available else "mps" if "mps" in available else "cpu"
    if name not in available:
        raise ConfigError(f"The device '{name}' is not on this machine; choose auto, {', '.join(available)}.")
    own = f"cuda:{os.environ.get('LOCAL_RANK', '')}"
    return torch.device(own if name == "cuda" and own in available else name)


def resolve_precision(name: str, device: torch.device) -> str:
    """Turn "auto" into what the device gains from.

    Args:
        name: "auto" (the user's setting; without one, bfloat16 on a CUDA device or CPU that computes in it,
            float16 on an older CUDA device, else float32), or one of `PRECISIONS`.
        device: Where the encoder runs.

    Raises:
        ConfigError: If the precision is none of these.
    """
    import torch

    if _precision(name) == "auto":
        name = load_config().precision
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
    return "bfloat16" if device.type == "cpu" and cpu_has_bfloat16() else "float32"


def cpu_has_bfloat16() -> bool:
    """Return True if the processor multiplies matrices of bfloat16 (AMX, AVX-512 BF16): others only emulate it."""
    import torch

    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def _precision(name: str) -> str:
    if name not in ("auto", *PRECISIONS):
        raise ConfigError(f"The precision is '{name}'; allowed: auto, {', '.join(PRECISIONS)}.")
    return name
