"""Find weights in the Hugging Face Hub's cache, or download them with the user's token and verify them."""

from __future__ import annotations

import json
import logging
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HTTPError

from ...config import load_config
from ...errors import WeightsMissingError
from ...files import from_json, read_json, write_atomically
from ...jobs import Job, Progress
from .download import find_explicit, locate_job
from .transfer import MAX_BYTES, WeightsFile

logger = logging.getLogger(__name__)

HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a model repository of the Hub, which publishes its hash."""

    name: str
    """File name in the folder of downloaded weights, unique among models."""
    repository: str
    """Name of the repository, "owner/name"."""
    size: int
    """Bytes, for messages; 0 if unknown."""
    gated: bool = False
    """True if only accounts that have been granted access may download the file."""
    file: str = "model.safetensors"
    """File name in the repository."""

    @property
    def page(self) -> str:
        """Address of the page with the licence, where users request access."""
        return f"{HUB}/{self.repository}"

    @property
    def url(self) -> str:
        """Address of the file, on the mirror given by the environment variable HF_ENDPOINT, if set."""
        return hf_hub_url(self.repository, self.file, endpoint=_endpoint())

    def cached(self) -> Path | None:
        """Return the file in the Hub's cache, which timm and other programs share; None if it is not cached."""
        path = try_to_load_from_cache(self.repository, self.file)
        return Path(path) if isinstance(path, str) else None


def locate_hub_job(weights: HubFile, explicit: Path | None = None) -> Job[Path]:
    """Find a weights file at a given path, in our folder or in the Hub's cache, or download it.

    The token of `hf auth login` or HF_TOKEN is sent only to the Hub.

    Args:
        weights: The file.
        explicit: A weights file, which is not verified, or a folder that contains the file under either of its names.

    Returns:
        Path of the file; a downloaded file is verified to have the hash published by the Hub.

    Raises:
        WeightsMissingError: If the file is not on this machine, and access is denied or the download fails.
        WeightsError: If a downloaded file does not have the published hash.
        StorageError: If the file cannot be written.
    """
    if explicit is not None:
        path = find_explicit(explicit, (weights.name, weights.file))
        if path is None:
            raise WeightsMissingError(_message(weights, explicit, f"is not in the folder '{explicit}'"))
        return path
    folder = load_config().weights_dir
    target, note = folder / weights.name, folder / f".{weights.name}.hub.json"
    if target.exists():
        published = _read_note(note, weights)
        return target if published is None else (yield from locate_job(published))
    cached = weights.cached()
    if cached is not None:
        return cached
    if weights.gated and get_token() is None:
        raise WeightsMissingError(_message(weights, folder, "is not on this machine"))
    yield Progress(0, 0, f"Looking up {weights.name}", "bytes")
    published = _look_up(weights, folder)
    text = json.dumps(asdict(published)).encode()
    write_atomically(note, lambda file: file.write(text))  # to verify the file later without a connection
    return (yield from locate_job(published))


def _look_up(weights: HubFile, folder: Path) -> WeightsFile:
    """Get hash and size of a file from the Hub."""
    try:
        metadata = get_hf_file_metadata(weights.url, endpoint=_endpoint())
    except HfHubHTTPError as error:
        logger.info("The Hub refuses %s: %s", weights.url, error)
        status = error.response.status_code
        if status == 401 and get_token() is not None:
            raise WeightsMissingError(
                f"The Hugging Face Hub does not accept your token for '{weights.repository}'; log in again with "
                f"'hf auth login', or ask for access at {weights.page}."
            ) from error
        if isinstance(error, GatedRepoError):
            weights = replace(weights, gated=True)
        denied = weights.gated and status in (401, 403, 404)
        reason = "is not on this machine" + ("" if denied else f" and the Hub returned status {status}")
        raise WeightsMissingError(_message(weights, folder, reason)) from error
    except (HTTPError, OSError, ValueError, TypeError) as error:  # also malformed headers
        logger.info("Looking up %s failed: %s", weights.url, error)
        reason = "is not on this machine and the Hub cannot be reached"
        raise WeightsMissingError(_message(weights, folder, reason, denied=False)) from error
    sha256 = metadata.etag if metadata.etag and re.fullmatch("[0-9a-f]{64}", metadata.etag) else ""
    if not sha256:
        logger.warning(
            "The Hub publishes no checksum of '%s', so only its size is checked; compare it with %s.",
            weights.name,
            weights.page,
        )
    size = metadata.size or weights.size
    if not 0 <= size <= MAX_BYTES:
        reason = f"is announced with {size:,} bytes, more than {MAX_BYTES:,}"
        raise WeightsMissingError(_message(weights, folder, reason, denied=False))
    return WeightsFile(weights.name, weights.url, sha256, size, from_hub=True)


def _message(weights: HubFile, folder: Path, reason: str, denied: bool = True) -> str:
    """Compose an error message on how to get a file; `denied` is False if lack of access is not the reason."""
    by_hand = f"put it as '{weights.name}' into '{folder}'"
    if not (weights.gated and denied):
        return f"The weights file '{weights.name}' {reason}; download {weights.url} and {by_hand}."
    login = (
        "log in with 'hf auth login' or set HF_TOKEN" if get_token() is None else "wait until it is granted"
    )
    return (
        f"The weights file '{weights.name}' {reason} and is available on request only; ask for access at "
        f"{weights.page} and {login}, or download '{weights.file}' there and {by_hand}."
    )


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _read_note(note: Path, weights: HubFile) -> WeightsFile | None:
    try:
        published = from_json(WeightsFile, read_json(note))
    except (OSError, ValueError):
        return None
    # Only checksum and size are taken from the note; a changed note must not redirect the download.
    valid = re.fullmatch("(?:[0-9a-f]{64})?", published.sha256) and 0 <= published.size <= MAX_BYTES
    return replace(published, name=weights.name, url=weights.url, from_hub=True) if valid else None
