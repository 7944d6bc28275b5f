"""The client of `sampath serve`: asks for the features of tiles, and gives up soon if the server does not answer."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import ReadTimeoutError

from ... import __version__
from ...arrays import FeatureSpec, UInt8Array
from ...errors import ConfigError
from ...files.json_reader import read_regular
from .protocol import (
    CHECKSUM,
    FEATURES,
    INFO,
    MAX_BODY_BYTES,
    MAX_SIDE_PX,
    PROTOCOL,
    SHAPE,
    ServerInfo,
    checksum,
    pack_pixels,
    unpack_maps,
)

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

CONNECTIONS = 4
"""Number of tiles that are sent at the same time."""
CONNECT_S, ANSWER_S = 5.0, 60.0
"""How long to wait for a connection, and between two parts of an answer, in seconds."""
WHOLE_ANSWER_S = 300.0
"""How long to wait for a whole answer, in seconds: 2.1 MB at 60 kbit/s."""
MAX_ANSWER_BYTES = 2**26
"""Largest answer; the features of the largest model have 13 MB."""
ATTEMPTS = 3
BUSY_S = 30.0
"""How long to wait in all for a server that is full, in seconds."""
RETRY_S = 60.0
"""How long tiles are computed on this machine before a server that failed is asked again, in seconds."""
_PART_BYTES = 2**16
"""Number of bytes that are received at once."""
MAX_TOKEN_BYTES = 1024
"""Largest size of a token file."""


class _Bearer(requests.auth.AuthBase):
    """Sends the token in a header; as an auth object, because `requests` would prefer an entry of a .netrc file."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class RemoteEncoder:
    """Computes features on a server; see `connect`.

    Args:
        address: Address of the server.
        token: Its token.
        ca: File with the certificate of a laboratory's own authority; None for those of the system.

    Attributes:
        info: What the server computes.
        on_failure: Called with a sentence when tiles have to be computed on this machine, once until it works again.
    """

    def __init__(self, address: str, token: str, ca: Path | None = None) -> None:
        self.address = address.rstrip("/")
        self.on_failure: Callable[[str], object] = logger.warning
        self._auth = _Bearer(token)
        self._verify: str | bool = True if ca is None else str(ca)
        # A proxy of the environment would receive the token and the pixels of an SSH tunnel, which are not encrypted.
        is_local = is_loopback(urlsplit(address).hostname or "")
        self._proxies = {"http": "", "https": ""} if is_local else None
        self._session = requests.Session()
        self._session.mount(self.address, requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._failed_at: float | None = None
        self._lock = threading.Lock()
        self.info = self._read_info()

    @property
    def works(self) -> bool:
        """False for a while after the server failed."""
        return self._failed_at is None or time.monotonic() - self._failed_at > RETRY_S

    def features(
        self, tiles: list[tuple[UInt8Array, int, str]], spec: FeatureSpec
    ) -> list[dict[str, Tensor] | None]:
        """Return the features of tiles.

        Args:
            tiles: Pixels (h, w, 3) uint8, `Frame.input_px` and key digest of each tile.
            spec: The maps that the encoder computes; other answers are refused.

        Returns:
            Name -> (C, h, w) float16 on the CPU for each tile; None where it has to be computed on this machine.
        """
        with ThreadPoolExecutor(min(CONNECTIONS, max(1, len(tiles))), "sampath-remote") as pool:
            return list(pool.map(lambda tile: self._features(spec, *tile), tiles))

    def _features(
        self, spec: FeatureSpec, pixels: UInt8Array, input_px: int, digest: str
    ) -> dict[str, Tensor] | None:
        if not self.works or max(pixels.shape[:2]) > MAX_SIDE_PX:
            return None
        started = time.monotonic()
        try:
            maps = self._request(pixels, f"{pixels.shape[0]},{pixels.shape[1]},{input_px}", digest, spec)
        except (_Failure, requests.RequestException) as error:
            self._fail(error)
            return None
        with self._lock:
            # Not if it has failed for another tile in the meantime, which would be said again and again.
            if self._failed_at is not None and self._failed_at < started:
                self._failed_at = None
        return maps

    def _request(self, pixels: UInt8Array, shape: str, digest: str, spec: FeatureSpec) -> dict[str, Tensor]:
        waited, attempt, problem = 0.0, 0, ""
        # Ask first, because the tile may be there already
        body: bytes | None = None
        while attempt < ATTEMPTS:
            answer = self._send(FEATURES + digest, body, shape)
            if answer.status == 404 and body is None:
                body = pack_pixels(pixels)
                if len(body) > MAX_BODY_BYTES:
                    raise _Failure("a tile is too large for it")
            elif answer.status == 429:
                pause = _seconds(answer.headers.get("Retry-After"))
                waited += pause
                if waited > BUSY_S:
                    raise _Failure("it is busy")
                time.sleep(pause)
            elif answer.status == 200:
                maps = unpack_maps(answer.content, spec)
                if maps is not None and checksum(answer.content) == answer.headers.get(CHECKSUM):
                    return maps
                # A damaged answer to a question without pixels is asked again, too
                attempt, problem = attempt + 1, "its answer was damaged"
            elif answer.status in (400, 502, 503, 504):
                attempt, problem = attempt + 1, _text(answer)
            else:
                raise _Failure(_text(answer))
        raise _Failure(problem)

    def _send(self, path: str, body: bytes | None, shape: str = "") -> _Answer:
        method, headers = "GET" if body is None else "POST", {"Accept-Encoding": "identity"}
        if body is not None:
            headers |= {SHAPE: shape, "Content-Type": "application/octet-stream"}
        for attempt in range(ATTEMPTS):
            try:
                with self._session.request(
                    method,
                    self.address + path,
                    data=body,
                    headers=headers,
                    auth=self._auth,
                    verify=self._verify,
                    proxies=self._proxies,
                    timeout=(CONNECT_S, ANSWER_S),
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    return _Answer(answer.status_code, answer.headers, _content(answer))
            except (requests.exceptions.SSLError, requests.ConnectTimeout, requests.ReadTimeout):
                raise
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                # requests calls it a lost connection, too, if the body of an answer does not come in time.
                if any(isinstance(cause, ReadTimeoutError) for cause in error.args):
                    raise requests.ReadTimeout(str(error)) from error
                # The connection was cut; requests are repeatable.
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _fail(self, error: Exception) -> None:
        with self._lock:
            first, self._failed_at = self.works, time.monotonic()
        if first:
            self.on_failure(
                f"The server '{self.address}' cannot be used ({_reason(error)}); tiles are computed on this machine."
            )

    def _read_info(self) -> ServerInfo:
        try:
            answer = self._send(INFO, None)
        except (_Failure, requests.RequestException) as error:
            raise ConfigError(
                f"The server '{self.address}' cannot be used ({_reason(error)}); check the address, and that 'sampath "
                "serve' runs there."
            ) from error
        if answer.status == 401:
            raise ConfigError(
                f"The server '{self.address}' refuses the token; give the token file that 'sampath serve' wrote."
            )
        if answer.status != 200:
            raise ConfigError(
                f"The server '{self.address}' cannot be used ({_text(answer)}); try again later."
            )
        info = ServerInfo.parse(answer.content)
        if info is None or info.protocol != PROTOCOL:
            raise ConfigError(
                f"'{self.address}' is not a server of this version of napari-sampath; install the same version on both "
                "machines."
            )
        if info.version != __version__:
            raise ConfigError(
                f"The server '{self.address}' has version {info.version} of napari-sampath and this machine "
                f"{__version__}; install the same version on both machines."
            )
        return info


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer that has been received completely."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def _content(answer: requests.Response) -> bytes:
    """Receive the body of an answer, which is not larger or slower than those of `sampath serve`."""
    content, end = bytearray(), time.monotonic() + WHOLE_ANSWER_S
    for part in answer.iter_content(_PART_BYTES):
        content += part
        if len(content) > MAX_ANSWER_BYTES:
            raise _Failure("its answer is too large")
        if time.monotonic() > end:
            raise _Failure("it does not answer in time")
    return bytes(content)


class _Failure(Exception):
    """The server cannot compute a tile; the text is the reason."""


def connect(address: str, token_file: Path, ca: Path | None = None) -> RemoteEncoder:
    """Connect to a server.

    Args:
        address: Such as "https://host:8443"; "http://" only for this machine, as at the end of an SSH tunnel.
        token_file: File with the token of the server.
        ca: File with the certificate of a laboratory's own authority; None for those of the system.

    Raises:
        ConfigError: If an argument is wrong, or the server cannot be used.
    """
    check_address(address)
    try:
        token = read_regular(token_file, MAX_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The token file '{token_file}' cannot be read; copy it from the machine with the server."
        ) from error
    if not token or " " in token or not token.isprintable():
        raise ConfigError(
            f"The token file '{token_file}' holds no token; copy it from the machine with the server."
        )
    if ca is not None and not ca.is_file():
        raise ConfigError(f"There is no certificate '{ca}'; give the file of your laboratory's authority.")
    return RemoteEncoder(address, token, ca)


def check_address(address: str) -> None:
    """Raise a `ConfigError` unless an address is encrypted, or leads to this machine."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")  # Raises an error for empty and long labels, as the connection would.
    except ValueError:
        host, parts = None, urlsplit("")
    if host is None or parts.scheme not in ("http", "https") or parts.username or parts.path.strip("/"):
        raise ConfigError(
            f"'{address}' is not the address of a server; give one such as https://host:8443 or http://127.0.0.1:8765."
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(
            f"'{address}' is not encrypted; use https://, or an SSH tunnel and http://127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    """Return True if a host is this machine."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _seconds(text: str | None) -> float:
    """Return the time to wait that an answer states, 0.1 to 10 seconds."""
    try:
        return min(max(0.1, float(text or 1)), 10.0)  # In this order, "nan" is 0.1.
    except ValueError:
        return 1.0


def _text(answer: _Answer) -> str:
    """Return the message of an answer that is not a success."""
    is_text = "text/plain" in answer.headers.get("Content-Type", "")
    message = answer.content[:200].decode("utf-8", "replace") if is_text else ""
    return f"status {answer.status}{': ' if message else ''}{message}"


def _reason(error: Exception) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        if not any(word in str(error).lower() for word in ("certificate", "hostname")):
            return "it does not encrypt; give http:// for the end of an SSH tunnel"
        return "its certificate is not trusted; give that of your laboratory with --ca"
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if isinstance(error, requests.RequestException):
        return "there is no connection"
    return str(error)
