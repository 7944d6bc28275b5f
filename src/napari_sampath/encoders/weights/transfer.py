"""Transfer of a weights file from a server, bounded by its declared size."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from huggingface_hub.utils import build_hf_headers

from ...errors import StorageError, WeightsMissingError
from ...jobs import Job, Progress

logger = logging.getLogger(__name__)

MAX_BYTES = 2**36
"""Largest weights file that is downloaded (64 GiB); the largest published ones have 5 GB."""
_CHUNK = 2**18
"""Bytes between two progress reports; a broken connection loses at most one chunk."""
_TIMEOUT_S = (10.0, 30.0)
"""Timeouts in seconds for connecting and between two chunks."""
_MAX_REDIRECTS = 10
_NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, ValueError)
"""Exceptions that requests raises; ValueError for malformed addresses."""


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file that is published at a fixed address."""

    name: str
    """File name in the cache."""
    url: str
    sha256: str
    """Hex digest, or "xxh128:" and a hex digest if only that is published. If empty, only the length announced by the
    server is checked."""
    size: int
    """Bytes, for messages and progress."""
    from_hub: bool = False
    """True to send the user's Hugging Face token with requests."""

    def message(self, folder: Path, reason: str) -> str:
        """Compose an error message that states where to get the file and where to put it."""
        return (
            f"The weights file '{self.name}' ({readable(self.size)}) {reason}; "
            f"download {self.url} and put it into '{folder}'."
        )


def receive_job(weights: WeightsFile, part: Path) -> Job[bool]:
    """Download the remaining bytes; return False if the connection broke."""
    received = size(part)
    # Byte ranges of compressed responses do not match those of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={received}-"} if received else {})
    if weights.from_hub:  # requests drops the token when it is redirected to another host
        headers |= build_hf_headers()
    session = requests.Session()
    session.max_redirects = _MAX_REDIRECTS
    session.hooks["response"].append(_check_redirect)
    try:
        response = session.get(weights.url, headers=headers, stream=True, timeout=_TIMEOUT_S)
    except _NETWORK_ERRORS as error:
        if isinstance(error, requests.RequestException) and error.response is not None:
            error.response.close()
        session.close()
        logger.info("Downloading %s failed: %s", weights.url, error)
        if isinstance(error, requests.TooManyRedirects | _RedirectError):
            cause = str(error) if isinstance(error, _RedirectError) else "it is redirected in a circle"
        elif received:
            return False
        else:
            cause = f"no connection to {weights.url.split('/')[2]}"
        reason = f"is not on this machine and could not be downloaded ({cause})"
        raise WeightsMissingError(weights.message(part.parent, reason)) from error
    with session, response:
        start = _start(response, weights, part, received)
        if start is None:
            return response.status_code == requests.codes.requested_range_not_satisfiable and part.exists()
        return (yield from _store_job(response, weights, part, start))


def _start(response: requests.Response, weights: WeightsFile, part: Path, received: int) -> int | None:
    """Return the position in the file of the first byte of a response; None if it has no usable content.

    Raises:
        WeightsMissingError: If the server refused the request.
    """
    status, content_range = response.status_code, response.headers.get("Content-Range", "")
    if status == requests.codes.requested_range_not_satisfiable:
        # The file is complete, or part of a different file, which the hash reveals.
        if not weights.sha256 and content_range != f"bytes */{received}":
            part.unlink(missing_ok=True)
        return None
    if status not in (requests.codes.ok, requests.codes.partial_content):
        reason = f"is not on this machine and could not be downloaded (the server returned status {status})"
        raise WeightsMissingError(weights.message(part.parent, reason))
    if status != requests.codes.partial_content:
        return 0
    stated = content_range.startswith(f"bytes {received}-") or (not content_range and bool(weights.sha256))
    if not stated:  # the wrong part: start again
        part.unlink(missing_ok=True)
        return None
    return received


def _store_job(response: requests.Response, weights: WeightsFile, part: Path, received: int) -> Job[bool]:
    """Append the body of a response to the part; return False if the connection broke."""
    total = _total(response, weights, part, received)
    limit = total or _limit(weights)
    if total is not None:
        _check_space(part.parent, total - received, weights)
    try:
        with open(part, "ab" if received else "wb", opener=_open_no_link) as file:
            for chunk in response.iter_content(_CHUNK):
                received += len(chunk)
                if received > limit:
                    break
                file.write(chunk)
                yield Progress(received, limit, f"Downloading {weights.name}", "bytes")
    except _NETWORK_ERRORS as error:
        logger.info("The connection to %s broke: %s", weights.url, error)
        return False
    except OSError as error:
        raise StorageError(
            f"'{part}' cannot be written: {error.strerror}; free some space or choose another cache."
        ) from error
    if received > limit:
        part.unlink(missing_ok=True)
        reason = f"is longer on the server than the declared {readable(limit)}, so the download was deleted"
        raise WeightsMissingError(weights.message(part.parent, reason))
    return total is None or received >= total


def _total(response: requests.Response, weights: WeightsFile, part: Path, received: int) -> int | None:
    """Return the size of the file that the server announces; None if it announces none.

    Raises:
        WeightsMissingError: If the announcement is malformed or not the declared size.
    """
    length = response.headers.get("Content-Length")
    if length is None:
        return None
    total = received + int(length) if length.isascii() and length.isdigit() and len(length) < 20 else -1
    if not 0 <= total <= _limit(weights):
        shown = (
            f"{length[:20]!r} bytes instead of {readable(weights.size)}"
            if weights.size
            else f"{length[:20]!r} bytes"
        )
        reason = f"could not be downloaded (the server announces {shown})"
        raise WeightsMissingError(weights.message(part.parent, reason))
    return total


def _limit(weights: WeightsFile) -> int:
    """Return the largest number of bytes to accept; declared sizes may be rounded."""
    return min(MAX_BYTES, weights.size + weights.size // 50 + 2**20) if weights.size else MAX_BYTES


class _RedirectError(ValueError):
    """A redirection that is not followed; the text is the reason."""


def _check_redirect(response: requests.Response, *_: object, **__: object) -> None:
    """Refuse redirections to anything but HTTP, and from HTTPS to HTTP."""
    if not response.is_redirect:
        return
    target = urljoin(response.url, response.headers["Location"])
    scheme = urlsplit(target).scheme.lower()
    reason = ""
    if scheme not in ("http", "https"):
        reason = f"it is redirected to an address of type '{scheme[:20]}'"
    elif scheme == "http" and response.url.lower().startswith("https:"):
        reason = "it is redirected to an address without encryption"
    if reason:
        if response.raw is not None:
            response.close()
        raise _RedirectError(reason)


def _open_no_link(path: str, flags: int) -> int:
    """Open without following a link, which another user may have placed in a shared cache."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def size(part: Path) -> int:
    """Return the number of bytes of a file; 0 if it is missing."""
    return part.stat().st_size if part.exists() else 0


def _check_space(folder: Path, needed: int, weights: WeightsFile) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"'{weights.name}' needs {readable(needed)} and '{folder}' has {readable(free)} left; "
            "free some space or choose another cache."
        )


def readable(size: int) -> str:
    """Format a number of bytes."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
