"""Import of the packages of the extra `text`."""

from __future__ import annotations

from typing import Any

from ...errors import ConfigError


def import_open_clip(name: str) -> Any:
    """Import open_clip, for the text model `name`.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ConfigError(
            f"The text model '{name}' needs open_clip, which is not installed; "
            'pip install "napari-sampath[text]".'
        ) from error
    return open_clip


def check_transformers(name: str) -> None:
    """Check that the package that reads Hugging Face text encoders and tokenizers is installed.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"The text model '{name}' needs transformers, which is not installed; "
            'pip install "napari-sampath[text]".'
        ) from error
