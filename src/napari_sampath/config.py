"""Settings of a process: folders, device, precision.

Arguments take precedence over environment variables, these over the user's `config.json` (in the configuration folder,
with the field names of `Config`), and these over the defaults.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from .errors import ConfigError
from .files import check_length, read_json, remove_leftovers, write_atomically
from .files.moving import move_earlier

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_APP = "napari-sampath"
_FILE = "config.json"

PRECISIONS = ("float32", "bfloat16", "float16")
"""Floating-point types in which an encoder may run; prompts are always answered in float32."""

_VARIABLES = {
    "cache_dir": "SAMPATH_CACHE",
    "data_dir": "SAMPATH_USER_DATA",
    "device": "SAMPATH_DEVICE",
    "cache_limit_bytes": "SAMPATH_CACHE_LIMIT_BYTES",
    "precision": "SAMPATH_PRECISION",
    "reader": "SAMPATH_READER",
    "server": "SAMPATH_SERVER",
    "server_token_file": "SAMPATH_SERVER_TOKEN_FILE",
    "server_ca": "SAMPATH_SERVER_CA",
}
"""Field of `Config` -> environment variable."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of one process."""

    cache_dir: Path
    """Folder for downloaded weights and cached features. Environment: SAMPATH_CACHE."""
    data_dir: Path
    """Folder of the user's work that is not in the images' folders: journals and states. Environment:
    SAMPATH_USER_DATA."""
    device: str
    """"auto", "cpu", "cuda", "cuda:1", "mps". Environment: SAMPATH_DEVICE."""
    cache_limit_bytes: int
    """Size limit of the feature cache on disk. Environment: SAMPATH_CACHE_LIMIT_BYTES."""
    precision: str = "auto"
    """Floating-point type of encoders, "auto" or one of `PRECISIONS`. Environment: SAMPATH_PRECISION."""

    reader: str = ""
    """Name of the person who annotates, recorded with each object; empty records none. Environment:
    SAMPATH_READER."""
    server: str = ""
    """Address of a `sampath serve` that can be chosen in the docks. Environment: SAMPATH_SERVER."""
    server_token_file: str = ""
    """File with its token. Environment: SAMPATH_SERVER_TOKEN_FILE."""
    server_ca: str = ""
    """File with the certificate of a laboratory's own authority. Environment: SAMPATH_SERVER_CA."""

    @property
    def weights_dir(self) -> Path:
        """Folder of downloaded weights, where users may also put files by hand."""
        return self.cache_dir / "weights"

    @property
    def features_dir(self) -> Path:
        """Folder of the disk tier of the feature store."""
        return self.cache_dir / "features"

    @property
    def sessions_dir(self) -> Path:
        """Folder of the annotation journals; see `sessions_folder`."""
        return self.data_dir / "sessions"

    @property
    def log_file(self) -> Path:
        """File with the tracebacks of unexpected errors."""
        return self.data_dir / "logs" / "errors.log"

    @property
    def earlier_sessions_dir(self) -> Path:
        """Folder in which earlier versions kept the journals."""
        return self.cache_dir / "sessions"


_overrides: ContextVar[dict[str, object] | None] = ContextVar("_overrides", default=None)


@contextlib.contextmanager
def overriding(**settings: object) -> Iterator[None]:
    """Override settings in `load_config` within a `with` block, for the calling thread only.

    Args:
        **settings: Values by field name of `Config`; None has no effect.
    """
    token = _overrides.set(settings)
    try:
        yield
    finally:
        _overrides.reset(token)


def own_log_file() -> Path:
    """Return the file with the tracebacks of unexpected errors, even if the settings are wrong."""
    try:
        return load_config().log_file
    except ConfigError:
        return Path(platformdirs.user_data_dir(_APP)) / "logs" / "errors.log"


def load_config(**flags: object) -> Config:
    """Resolve the settings.

    Args:
        **flags: Values by field name of `Config`; None has no effect.

    Raises:
        ConfigError: If a value is not allowed.
    """
    defaults: dict[str, object] = {
        "cache_dir": platformdirs.user_cache_dir(_APP),
        "data_dir": platformdirs.user_data_dir(_APP),
        "device": "auto",
        "cache_limit_bytes": 20 * 2**30,
        "precision": "auto",
        "reader": "",
        "server": "",
        "server_token_file": "",
        "server_ca": "",
    }
    environment = {key: os.environ.get(variable) for key, variable in _VARIABLES.items()}
    values: dict[str, object] = {}
    for source in (defaults, _read_config(), environment, _overrides.get() or {}, flags):
        values.update({key: value for key, value in source.items() if value is not None})
    unknown = sorted(set(values) - set(_VARIABLES))
    if unknown:
        raise ConfigError(f"There is no setting '{unknown[0]}'; allowed: {', '.join(_VARIABLES)}.")
    try:
        limit = int(str(values["cache_limit_bytes"]))
    except ValueError:
        value = values["cache_limit_bytes"]
        raise ConfigError(f"cache_limit_bytes is '{value}'; give a whole number of bytes.") from None
    cache_dir, data_dir = (_folder(key, values[key]) for key in ("cache_dir", "data_dir"))
    check_length(str(values["reader"]), "reader", ConfigError)
    precision = _check_precision(str(values["precision"]))
    texts = (str(values[key]) for key in ("reader", "server", "server_token_file", "server_ca"))
    return Config(cache_dir, data_dir, str(values["device"]), limit, precision, *texts)


def sessions_folder() -> Path:
    """Return the folder of the user's journals and states, after moving there those of earlier versions."""
    config = load_config()
    if config.earlier_sessions_dir.is_dir() and config.earlier_sessions_dir != config.sessions_dir:
        move_earlier(config.earlier_sessions_dir, config.sessions_dir)
    remove_leftovers(config.sessions_dir)
    return config.sessions_dir


def settings_file(name: str) -> Path:
    """Return the path of one of the user's settings files, which may not exist."""
    return Path(platformdirs.user_config_dir(_APP)) / name


def read_settings(name: str) -> dict[str, object]:
    """Read one of the user's settings files, a JSON object; empty if it is missing or damaged."""
    path = settings_file(name)
    try:
        content = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        # A damaged settings file must not prevent annotating.
        logger.warning("The settings file %s is ignored: %s", path, error)
        return {}
    if not isinstance(content, dict):
        logger.warning("The settings file %s is ignored: it is not a JSON object.", path)
        return {}
    return content


def write_setting(key: str, value: object) -> None:
    """Change one setting of the user's `config.json`; the others are kept.

    Raises:
        StorageError: If the file cannot be written.
    """
    path = settings_file(_FILE)
    content = json.dumps({**read_settings(_FILE), key: value}, indent=2) + "\n"
    write_atomically(path, lambda stream: stream.write(content.encode()))


def _read_config() -> dict[str, object]:
    content = read_settings(_FILE)
    for key in set(content) - set(_VARIABLES):
        logger.warning(
            "The setting '%s' in %s is ignored; allowed: %s", key, settings_file(_FILE), ", ".join(_VARIABLES)
        )
    return {key: value for key, value in content.items() if key in _VARIABLES}


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of this machine for a name.

    Args:
        name: "auto" (CUDA, else Apple's MPS, else CPU), or a torch device name. "cuda" without a number is the device
            that a distributed launcher assigned to this process (LOCAL_RANK).

    Raises:
        ConfigError: If this machine has no such device.
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
        raise ConfigError(f"This machine has no device '{name}'; choose auto, {', '.join(available)}.")
    ranked = f"cuda:{os.environ.get('LOCAL_RANK', '')}"
    return torch.device(ranked if name == "cuda" and ranked in available else name)


def resolve_precision(name: str, device: torch.device) -> str:
    """Return the precision to use on a device.

    Args:
        name: "auto" (the user's setting; without one, bfloat16 on a CUDA device or CPU that computes in it,
            float16 on an older CUDA device, else float32), or one of `PRECISIONS`.
        device: Device of the encoder.

    Raises:
        ConfigError: If there is no such precision.
    """
    import torch

    if _check_precision(name) == "auto":
        name = load_config().precision
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
    return "bfloat16" if device.type == "cpu" and cpu_has_bfloat16() else "float32"


def cpu_has_bfloat16() -> bool:
    """Return True if the processor has bfloat16 matrix instructions (AMX, AVX-512 BF16)."""
    import torch

    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def _folder(key: str, value: object) -> Path:
    try:
        folder = Path(str(value)).expanduser()
    except RuntimeError:  # there is no such user
        folder = Path("\0")
    if "\0" in str(folder):
        raise ConfigError(f"{key} is {value!r}; give the path of a folder.")
    return folder


def _check_precision(name: str) -> str:
    if name not in ("auto", *PRECISIONS):
        raise ConfigError(f"The precision is '{name}'; allowed: auto, {', '.join(PRECISIONS)}.")
    return name
