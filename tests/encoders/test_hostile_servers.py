"""Downloads from servers that announce wrong sizes, redirect in circles, or never end."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_sampath.encoders.weights.hub import HubFile, locate_hub_job
from napari_sampath.encoders.weights.transfer import _check_redirect, _RedirectError
from napari_sampath.encoders.weights.weights import WeightsFile, locate_job
from napari_sampath.errors import SampathError, StorageError, WeightsError, WeightsMissingError
from napari_sampath.jobs import run
from support.models.small_vits import one_sentence
from support.web_server import serve_hub

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def broken_connections_are_collected() -> Iterator[None]:
    """Collect the sockets of broken connections here, where Python's warning about them is expected."""
    gc.freeze()  # A search of all objects, instead of those of the test, takes half a second.
    yield
    gc.collect()
    gc.unfreeze()


CONTENT = hashlib.sha256(b"seed").digest() * 4000
SHA = hashlib.sha256(CONTENT).hexdigest()


@contextlib.contextmanager
def raw_server(head: str, body: bytes = CONTENT, endless: bool = False) -> Iterator[str]:
    """Answer every request with these header lines and this body; `{port}` in the head is the server's."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    answer = head.replace("{port}", str(port)).replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n"

    def respond() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(10)
                connection.recv(65536)
                connection.sendall(answer + body)
                while endless:
                    connection.sendall(body)

    thread = threading.Thread(target=respond)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/w.pth"
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def fetch(url: str, sha: str = SHA, size: int = len(CONTENT)) -> Path:
    return run(locate_job(WeightsFile("w.pth", url, sha, size)))


@pytest.mark.parametrize(
    "length", ["abc", "-5", "1e9", "", "99999999999999999999999", "999999999999", "0x10", "٣"], ids=repr
)
def test_a_wrong_announced_size_is_one_sentence(folder: Path, length: str) -> None:
    head = f"HTTP/1.1 200 OK\nContent-Length: {length}"
    with raw_server(head.encode().decode("latin-1")) as url, pytest.raises(SampathError) as caught:
        fetch(url)
    one_sentence(caught.value)
    assert not (folder / "w.pth").exists()


@pytest.mark.parametrize("sha", [SHA, ""])
def test_a_download_stops_at_the_declared_size(folder: Path, sha: str) -> None:
    """The server announces no size and never ends."""
    match = "longer on the server than the declared"
    with raw_server("HTTP/1.1 200 OK", endless=True) as url, pytest.raises(WeightsMissingError, match=match):
        fetch(url, sha)
    assert not list(folder.glob("w.pth*")), "nothing is left"


@pytest.mark.parametrize(
    ("location", "match"),
    [
        ("http://127.0.0.1:{port}/again", "redirected in a circle"),
        ("file:///etc/passwd", "address of type 'file'"),
        ("ftp://127.0.0.1/x", "address of type 'ftp'"),
        ("http://[::1", "could not be downloaded"),
        ("http://127.0.0.1:99999999/", "could not be downloaded"),
        ("\x01\x02", "could not be downloaded"),
        ("", "status 302"),
    ],
)
def test_redirections_are_one_sentence(folder: Path, location: str, match: str) -> None:
    head = f"HTTP/1.1 302 Found\nConnection: close\nContent-Length: 0\nLocation: {location}"
    with raw_server(head, b"") as url, pytest.raises(SampathError, match=match) as caught:
        fetch(url)
    one_sentence(caught.value)
    assert not list(folder.glob("w.pth*"))


def test_a_redirection_from_https_to_http_is_refused() -> None:
    import requests

    response = requests.Response()
    response.url, response.status_code = "https://host/a", 302
    response.headers["Location"] = "http://host/b"
    with pytest.raises(_RedirectError, match="without encryption"):
        _check_redirect(response)
    response.headers["Location"] = "/b"
    _check_redirect(response)


@pytest.mark.parametrize(
    "head",
    [
        "",
        "HTTP/9.9 999 x",
        "not http",
        "HTTP/1.1 200 OK\nX: " + "x" * 100_000,
        "HTTP/1.1 200 OK\n" + "\n".join(f"X{i}: y" for i in range(300)),
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked",
        "HTTP/1.1 200 OK\nContent-Encoding: gzip",
        "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6",
        "HTTP/1.1 abc OK",
    ],
    ids=lambda head: head[:50],
)
def test_malformed_headers_are_one_sentence(folder: Path, head: str) -> None:
    with raw_server(head) as url, pytest.raises(SampathError) as caught:
        fetch(url)
    one_sentence(caught.value)
    assert not (folder / "w.pth").exists()


def test_a_wrong_range_starts_again(folder: Path) -> None:
    """A server that answers another range than the requested one must not mix two places of the file."""
    folder.mkdir(parents=True)
    (folder / "w.pth.part").write_bytes(CONTENT[:1000])
    head = f"HTTP/1.1 206 Partial Content\nContent-Length: {len(CONTENT)}\nContent-Range: bytes 0-9/10"
    with raw_server(head) as url:
        assert fetch(url).read_bytes() == CONTENT  # the second request has no range, so 206 starts at 0


def test_a_partial_file_without_checksum_is_not_taken_as_complete(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "w.pth.part").write_bytes(CONTENT[:1000])
    head = f"HTTP/1.1 416 Range Not Satisfiable\nContent-Length: 0\nContent-Range: bytes */{len(CONTENT)}"
    with raw_server(head, b"") as url, pytest.raises(WeightsMissingError):
        fetch(url, sha="")
    assert not (folder / "w.pth").exists()


def test_links_in_the_cache_are_not_written_through(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    (folder / "w.pth.part").symlink_to(mine)
    with raw_server(f"HTTP/1.1 200 OK\nContent-Length: {len(CONTENT)}") as url:
        with pytest.raises(StorageError) as caught:
            fetch(url)
        one_sentence(caught.value)
        (folder / "w.pth.part").unlink()
        (folder / ".w.pth.verified.json").symlink_to(mine)
        assert fetch(url).read_bytes() == CONTENT
    assert mine.read_bytes() == b"mine"


NOTES = [
    b"[" * 40_000, b"", b"null", b"{}", b"[1]", b'{"name": "\\u0000", "url": "x", "sha256": "", "size": 3}',
    b'{"name": {}, "url": 5, "sha256": [], "size": {}}',
    json.dumps({"name": "../../x", "url": "file:///etc/passwd", "sha256": "", "size": -1}).encode(),
    json.dumps({"name": "x", "url": "http://127.0.0.1:9", "sha256": "", "size": 1e300}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("note", NOTES)
def test_damaged_notes_beside_weights(folder: Path, note: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note that cannot be used counts as missing, and its name and address are never used."""
    folder.mkdir(parents=True)
    hub_file = HubFile("m.safetensors", "owner/net", 3)
    (folder / "m.safetensors").write_bytes(b"abc")
    (folder / ".m.safetensors.hub.json").write_bytes(note)
    assert run(locate_hub_job(hub_file)) == folder / "m.safetensors"
    digest = hashlib.sha256(b"abc").hexdigest()
    (folder / "v.bin").write_bytes(b"abc")
    (folder / ".v.bin.verified.json").write_bytes(note)
    path = run(locate_job(WeightsFile("v.bin", "http://127.0.0.1:9/x", digest, 3)))
    assert path.read_bytes() == b"abc"
    with pytest.raises(WeightsError, match="checksum differs"):
        run(locate_job(WeightsFile("v.bin", "http://127.0.0.1:9/x", "0" * 64, 3)))


def test_a_file_without_a_published_checksum_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serve_hub(CONTENT, sha256=None) as script, caplog.at_level(logging.WARNING):
        monkeypatch.setenv("HF_ENDPOINT", script.url)
        run(locate_hub_job(HubFile("m.safetensors", "owner/net", len(CONTENT))))
    assert "publishes no checksum of 'm.safetensors'" in caplog.text
