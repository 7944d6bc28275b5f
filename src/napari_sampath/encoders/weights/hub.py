"""Weights files on the Hugging Face hub: asked for their hash, or explained where access has to be requested."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import requests

from ...config import load_config
from ...errors import WeightsMissingError
from ...files import write_atomically
from ...jobs import Job, Progress
from .download import WeightsFile, locate_job

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

HUB = "https://huggingface.co"
_TIMEOUT_S = (10.0, 30.0)
_HOPS = 4
"""Renamed repositories answer with a redirection; the file's own address, on another server, is the last."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository of the hub; its hash is what the hub says it is when it is downloaded."""

    name: str
    """File name in the folder of downloaded weights; files on the hub are all called alike."""
    repository: str
    """"owner/name"."""
    size: int
    """Bytes, for messages; 0 if not known."""
    gated: bool = False
    """True if only people who accepted the terms, with an account, get it."""
    file: str = "model.safetensors"
    """File name in the repository."""

    @property
    def page(self) -> str:
        """Address of the page that shows licence and terms."""
        return f"{HUB}/{self.repository}"

    @property
    def url(self) -> str:
        """Address of the file."""
        return f"{self.page}/resolve/main/{self.file}"


def locate_hub_job(wanted: HubFile, explicit: Path | None = None) -> Job[Path]:
    """Find a weights file: where the user says, in the cache, or by downloading it from the hub.

    Args:
        wanted: The file.
        explicit: A file (taken as it is), or a folder that holds it under its name here or on the hub.

    Returns:
        The file.

    Raises:
        WeightsMissingError: If it is not here and is gated, or cannot be downloaded.
        WeightsError: If what lies in the cache or was downloaded has another hash than the hub told.
        StorageError: If it cannot be written.
    """
    if explicit is not None and explicit.is_dir():
        for name in (wanted.name, wanted.file):
            if (explicit / name).is_file():
                return explicit / name
        raise WeightsMissingError(_sentence(wanted, explicit, f"is not in the folder '{explicit}'"))
    folder = load_config().weights_dir
    target, note = folder / wanted.name, folder / f".{wanted.name}.hub.json"
    if explicit is None and not note.exists():
        if target.exists():
            return target  # put there by hand: whether it fits is seen when it is read
        if wanted.gated:
            raise WeightsMissingError(_sentence(wanted, folder, "is not on this machine"))
        yield Progress(0, 0, f"Looking up {wanted.name}", "bytes")
        told = json.dumps(asdict(_ask(wanted, folder))).encode()
        write_atomically(note, lambda file: file.write(told))  # to check the file later without the hub
    known = _known(note) or WeightsFile(wanted.name, wanted.url, "", wanted.size)
    return (yield from locate_job(known, explicit))


def _sentence(wanted: HubFile, folder: Path, reason: str) -> str:
    if wanted.gated:
        return (
            f"The weights file '{wanted.name}' {reason} and is given out on request only; ask for access at "
            f"{wanted.page}, download '{wanted.file}' there and put it as '{wanted.name}' into '{folder}'."
        )
    return (
        f"The weights file '{wanted.name}' {reason}; download {wanted.url} "
        f"and put it as '{wanted.name}' into '{folder}'."
    )


def _ask(wanted: HubFile, folder: Path) -> WeightsFile:
    """Ask the hub for hash and size of a file, which it tells before it sends to the server that has it."""
    url = wanted.url
    for _ in range(_HOPS):
        try:
            answer = requests.head(
                url, allow_redirects=False, timeout=_TIMEOUT_S, headers={"Accept-Encoding": "identity"}
            )
        except requests.RequestException as error:
            logger.info("Asking for %s failed: %s", url, error)
            reason = "is not on this machine and the hub cannot be reached"
            raise WeightsMissingError(_sentence(wanted, folder, reason)) from error
        etag = answer.headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"')
        if re.fullmatch("[0-9a-f]{64}", etag):
            return WeightsFile(wanted.name, url, etag, int(answer.headers.get("X-Linked-Size", wanted.size)))
        if not answer.is_redirect:
            break
        url = urljoin(url, answer.headers["Location"])
    if not answer.ok:
        reason = f"is not on this machine and the hub answers {answer.status_code}"
        raise WeightsMissingError(_sentence(wanted, folder, reason))
    return WeightsFile(wanted.name, url, "", int(answer.headers.get("Content-Length", wanted.size)))


def _known(note: Path) -> WeightsFile | None:
    try:
        return WeightsFile(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
