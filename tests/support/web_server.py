"""A local web server for one file: byte ranges, broken connections, errors, and the Hugging Face Hub's protocol."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMBER, STRANGER = "hf_member", "hf_stranger"
"""Tokens that the hub knows: only the first has access to gated files."""


@dataclass
class Script:
    """Behaviour of the server, and the requests it received."""

    content: bytes
    status: int = 200
    cut_after: list[int] = field(default_factory=list)
    """Number of body bytes after which the first, second ... response breaks off."""
    ranges: bool = True
    """False: ignore the Range header, as simple servers do."""
    url: str = ""
    """Address of the file; of the hub for `serve_hub`."""
    seen: list[str | None] = field(default_factory=list)
    """The Range header of each download."""


@dataclass
class HubScript(Script):
    """Behaviour of a hub, as `huggingface_hub` sees it."""

    gated: bool = False
    """Only `MEMBER` has access."""
    sha256: str | None = ""
    """Hash that the hub publishes: that of the content if empty; None for a file outside LFS."""
    renamed: str = ""
    """Present name of the repository "owner/net"."""
    requests: list[str] = field(default_factory=list)
    """Method, path and token of each request."""


class _FileHandler(BaseHTTPRequestHandler):
    script: Script

    def do_GET(self) -> None:
        if self.script.status != 200:
            self.send_error(self.script.status)
        else:
            self.send_file()

    def send_file(self) -> None:
        script, requested = self.script, self.headers["Range"]
        script.seen.append(requested)
        start = int(requested.removeprefix("bytes=").removesuffix("-")) if requested and script.ranges else 0
        if start >= len(script.content) and requested and script.ranges:
            self.send_error(416)
            return
        body = script.content[start:]
        self.respond(206 if start else 200, {"Content-Length": str(len(body))})
        self.wfile.write(body[: script.cut_after.pop(0)] if script.cut_after else body)

    def respond(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


class _HubHandler(_FileHandler):
    script: HubScript

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, token = self.script, (self.headers["Authorization"] or "").removeprefix("Bearer ")
        hub.requests.append(f"{self.command} {self.path} {token}".rstrip())
        if hub.status != 200:
            self.send_error(hub.status)
        elif self.path == "/api/whoami-v2":
            body = json.dumps(
                {
                    "name": "tester",
                    "type": "user",
                    "auth": {"accessToken": {"displayName": "test", "role": "read"}},
                }
            ).encode()
            self.respond(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
            self.wfile.write(body)
        elif self.path == "/cdn/blob":  # storage on another host, which needs no token and must not see one
            self.send_file()
        elif token not in ("", MEMBER, STRANGER):
            self.respond(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif hub.gated and token != MEMBER:
            self.respond(403 if token else 401, {"X-Error-Code": "GatedRepo"})
        elif hub.renamed and self.path.startswith("/owner/net/"):
            self.respond(307, {"Location": self.path.replace("owner/net", hub.renamed)})
        else:
            self.respond(
                302, {"Location": f"http://localhost:{self.server.server_port}/cdn/blob"} | self._facts()
            )

    def _facts(self) -> dict[str, str]:
        facts = {"X-Repo-Commit": "0" * 40, "ETag": '"0123456789abcdef0123456789abcdef01234567"'}
        if self.script.sha256 is None:
            return facts
        sha256 = self.script.sha256 or hashlib.sha256(self.script.content).hexdigest()
        return facts | {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(self.script.content))}


@contextlib.contextmanager
def _running(handler: type[_FileHandler], script: Script) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"script": script}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def serve(content: bytes, **behaviour: object) -> Iterator[Script]:
    """Serve `content` on a free local port; see `Script`."""
    script = Script(content, **behaviour)  # type: ignore[arg-type]
    with _running(_FileHandler, script) as url:
        script.url = f"{url}/weights.pth"
        yield script


@contextlib.contextmanager
def serve_hub(content: bytes, **behaviour: object) -> Iterator[HubScript]:
    """Serve `content` as every file of a hub on a free local port; see `HubScript`."""
    script = HubScript(content, **behaviour)  # type: ignore[arg-type]
    with _running(_HubHandler, script) as script.url:
        yield script
