"""`sampath serve` in a thread, and a proxy that damages what it forwards."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from napari_sampath.predict import Model
from napari_sampath.server.serving import make_server

TOKEN = "t" * 43
Change = Callable[[bytes], bytes | None]
"""Changes a part of an answer; None cuts the connection."""


@contextlib.contextmanager
def serving(
    model: Model, certificate: Path | None = None, key: Path | None = None, port: int = 0
) -> Iterator[str]:
    """Serve a model and give the address."""
    listening = socket.create_server(("127.0.0.1", port))
    server = make_server(model, TOKEN, "127.0.0.1", 0, certificate, key)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    scheme = "http" if certificate is None else "https"
    try:
        yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        # Clients keep their connections open, for which the server would wait.
        for connection in list(server.server_state.connections):
            connection.loop.call_soon_threadsafe(connection.transport.abort)
        server.should_exit = True
        thread.join()
        listening.close()


@contextlib.contextmanager
def proxy(address: str, answers: Change = bytes, questions: Change = bytes) -> Iterator[str]:
    """Forward connections to a server, changing what passes."""
    port = int(address.rpartition(":")[2])
    listening = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []
    clients: list[socket.socket] = []

    def forward(source: socket.socket, target: socket.socket, change: Change) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(2**16):
                changed = change(part)
                if changed is None:
                    break
                target.sendall(changed)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def connect(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            upward = threading.Thread(target=forward, args=(client, server, questions))
            upward.start()
            forward(server, client, answers)
            upward.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                clients.append(listening.accept()[0])
                thread = threading.Thread(target=connect, args=(clients[-1],))
                thread.start()
                threads.append(thread)

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join()
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
