"""Start the server: where it listens, its token, its certificate."""

from __future__ import annotations

import contextlib
import os
import secrets
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..encoders.remote.client import MAX_TOKEN_BYTES, is_loopback
from ..errors import ConfigError
from ..files.json_reader import read_regular

if TYPE_CHECKING:
    from ..predict import Model

_MIN_TOKEN = 43
"""Length of 256 random bits in base 64."""
_KEEP_ALIVE_S = 30
_MAX_CONNECTIONS = 256
_STOP_S = 5
"""How long a stopped server waits for unfinished answers, and for clients that do not close their connection."""


def read_token(path: Path) -> tuple[str, bool]:
    """Read the token file of a server, or create it with a new token that only this user can read.

    Returns:
        The token, and whether it is new.

    Raises:
        ConfigError: If the file cannot be read or created, others can read it, or it holds no good token.
    """
    try:
        with contextlib.suppress(FileExistsError):
            with open(
                os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii"
            ) as file:
                token = secrets.token_urlsafe(32)
                file.write(f"{token}\n")
            return token, True
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise ConfigError(
                f"Others can read the token file '{path}'; run 'chmod 600 {path}', or give a new name to create one."
            )
        token = read_regular(path, MAX_TOKEN_BYTES).decode("ascii").strip()
    except ConfigError:  # It is a ValueError, too.
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The token file '{path}' cannot be used ({error}); give a new name in your own folder to create one."
        ) from error
    if len(token) < _MIN_TOKEN or any(character.isspace() for character in token):
        raise ConfigError(
            f"The token in '{path}' has {len(token)} characters; give a new name to create a file with a random token."
        )
    return token, False


def check_access(host: str, certificate: Path | None = None, key: Path | None = None) -> None:
    """Check that a server that listens on an address is encrypted, unless only this machine reaches it.

    Args:
        host: Address to listen on.
        certificate: File with the certificate chain.
        key: File with its private key, if it is not in the same file.

    Raises:
        ConfigError: If the certificate is missing or cannot be used.
    """
    if certificate is None and not is_loopback(host):
        raise ConfigError(
            f"'{host}' can be reached from other machines, so a certificate is needed; give --certificate and --key, "
            "or listen on 127.0.0.1 and use an SSH tunnel."
        )
    if certificate is None and key is not None:
        raise ConfigError(f"--key is '{key}', but there is no certificate; give --certificate, too.")
    if certificate is not None:
        try:
            # Without a password, OpenSSL would ask for that of an encrypted key on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"The certificate '{certificate}' cannot be used ({error}); give PEM files of it and of its key, "
                "without a password."
            ) from error


def make_server(
    model: Model, token: str, host: str, port: int, certificate: Path | None = None, key: Path | None = None
) -> Any:
    """Return a `uvicorn.Server` that answers with a model.

    Args:
        model: The model.
        token: The token that clients send.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        certificate: File with the certificate chain; required unless `host` is this machine.
        key: File with its private key, if it is not in the same file.

    Raises:
        ConfigError: If the extra is not installed, the certificate is missing or cannot be used.
    """
    check_access(host, certificate, key)
    try:
        import uvicorn

        from .app import FeatureServer
        from .time_limits import TimeLimitProtocol
    except ImportError as error:
        raise ConfigError(
            "'sampath serve' needs starlette and uvicorn, which are not installed; run 'pip install "
            "napari-sampath[server]'."
        ) from error
    config = uvicorn.Config(
        FeatureServer(model, token).app(),
        host=host,
        port=port,
        ssl_certfile=None if certificate is None else str(certificate),
        ssl_keyfile=None if key is None else str(key),
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        http=TimeLimitProtocol,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_S,
        limit_concurrency=_MAX_CONNECTIONS,
    )
    return uvicorn.Server(config)
