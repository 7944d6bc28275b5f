"""A web server on this machine that serves one file: with byte ranges, cutting connections, failing."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Script:
    """What the server does, and what it saw."""

    content: bytes
    status: int = 200
    cut_after: list[int] = field(default_factory=list)
    """Bytes of the body after which the first, second ... answer breaks off."""
    ranges: bool = True
    """False: the Range header is ignored, as simple servers do."""
    url: str = ""
    seen: list[str | None] = field(default_factory=list)
    """The Range header of each request."""


class _Handler(BaseHTTPRequestHandler):
    script: Script

    def do_GET(self) -> None:
        script = self.script
        asked = self.headers["Range"]
        script.seen.append(asked)
        if script.status != 200:
            self.send_error(script.status)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and script.ranges else 0
        if start >= len(script.content) and asked and script.ranges:
            self.send_error(416)
            return
        body = script.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: script.cut_after.pop(0)] if script.cut_after else body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@contextlib.contextmanager
def serve(content: bytes, **behaviour: object) -> Iterator[Script]:
    """Serve `content` on a free port of this machine; see `Script`."""
    script = Script(content, **behaviour)  # type: ignore[arg-type]
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"script": script}))
    script.url = f"http://127.0.0.1:{server.server_port}/weights.pth"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
