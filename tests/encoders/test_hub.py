"""Weights on the hub: looked up, downloaded and checked; or one sentence on how to get them."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import xxhash

from napari_sampath.encoders.weights import download, hub
from napari_sampath.encoders.weights.hub import HubFile, locate_hub_job
from napari_sampath.encoders.weights.weights import WeightsFile, locate_job
from napari_sampath.errors import WeightsError, WeightsMissingError
from napari_sampath.jobs import run
from support.models.small_vits import one_sentence
from support.web_server import serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = hashlib.sha256(b"hub").digest() * 40_000  # 1.3 MB
SHA = hashlib.sha256(CONTENT).hexdigest()
WANTED = HubFile("net-s16.safetensors", "owner/net", len(CONTENT))
GATED = HubFile("closed.bin", "owner/closed", 1_210_000_000, gated=True, file="pytorch_model.bin")


@dataclass
class Hub:
    """What the hub does, and what it was asked."""

    content: bytes = CONTENT
    sha256: str | None = SHA
    status: int = 200
    renamed: str = ""
    """Repository to which "owner/net" is redirected."""
    asked: list[str] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def _answer(self, body: bool) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        if self.hub.status != 200:
            self.send_error(self.hub.status)
        elif self.path.startswith("/cdn/"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.hub.content)))
            self.end_headers()
            if body:
                self.wfile.write(self.hub.content)
        elif self.hub.renamed and self.path.startswith("/owner/net/"):
            self._redirect(307, self.path.replace("owner/net", self.hub.renamed))
        else:
            self._redirect(302, f"{self.hub.url}/cdn/blob", linked=True)

    def _redirect(self, status: int, target: str, linked: bool = False) -> None:
        self.send_response(status)
        self.send_header("Location", target)
        if linked and self.hub.sha256:
            self.send_header("X-Linked-Etag", f'"{self.hub.sha256}"')
            self.send_header("X-Linked-Size", str(len(self.hub.content)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@contextlib.contextmanager
def running(monkeypatch: pytest.MonkeyPatch, **behaviour: object) -> Iterator[Hub]:
    script = Hub(**behaviour)  # type: ignore[arg-type]
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": script}))
    script.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(hub, "HUB", script.url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def folder(own_cache: Path) -> Path:
    return own_cache / "weights"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE_S", 0.0)


@pytest.mark.parametrize("renamed", ["", "owner/new-net"])
def test_file_is_checked_against_the_hash_that_the_hub_tells(
    folder: Path, monkeypatch: pytest.MonkeyPatch, renamed: str
) -> None:
    with running(monkeypatch, renamed=renamed) as script:
        path = run(locate_hub_job(WANTED))
        assert path == folder / WANTED.name
        assert path.read_bytes() == CONTENT
        assert [line.split()[0] for line in script.asked].count("HEAD") == (2 if renamed else 1)
        count = len(script.asked)
        assert run(locate_hub_job(WANTED)) == path
        assert len(script.asked) == count
    assert run(locate_hub_job(WANTED)) == path  # without the hub
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(WeightsError, match="checksum differs") as caught:
        run(locate_hub_job(WANTED))
    one_sentence(caught.value)


def test_what_the_hub_sends_is_not_what_it_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(monkeypatch, sha256="0" * 64), pytest.raises(WeightsError, match="checksum differs"):
        run(locate_hub_job(WANTED))
    assert not (folder / WANTED.name).exists()


def test_file_without_a_hash_is_still_fetched_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(monkeypatch, sha256=None):
        assert run(locate_hub_job(WANTED)).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 404, 500])
def test_hub_that_refuses(folder: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with running(monkeypatch, status=status), pytest.raises(WeightsMissingError) as caught:
        run(locate_hub_job(WANTED))
    sentence = one_sentence(caught.value)
    assert f"answers {status}" in sentence
    assert "'net-s16.safetensors'" in sentence
    assert f"'{folder}'" in sentence


def test_hub_out_of_reach(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(hub, "HUB", f"http://127.0.0.1:{closed.getsockname()[1]}")
    with pytest.raises(WeightsMissingError, match="cannot be reached") as caught:
        run(locate_hub_job(WANTED))
    assert "/owner/net/resolve/main/model.safetensors" in one_sentence(caught.value)


def test_gated_file_is_never_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(monkeypatch) as script:
        with pytest.raises(WeightsMissingError) as caught:
            run(locate_hub_job(GATED))
        sentence = one_sentence(caught.value)
        for part in (
            "on request only",
            f"{script.url}/owner/closed",
            "'pytorch_model.bin'",
            "'closed.bin'",
            f"'{folder}'",
        ):
            assert part in sentence
        assert script.asked == []


def test_file_put_there_by_hand(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    (folder / GATED.name).write_bytes(b"by hand")
    assert run(locate_hub_job(GATED)) == folder / GATED.name
    own = tmp_path / "mine.bin"
    own.write_bytes(b"mine")
    assert run(locate_hub_job(GATED, own)) == own


@pytest.mark.parametrize("name", [GATED.name, GATED.file])
def test_folder_that_holds_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsMissingError, match="is not in the folder") as caught:
        run(locate_hub_job(GATED, tmp_path))
    one_sentence(caught.value)
    (tmp_path / name).write_bytes(b"there")
    assert run(locate_hub_job(GATED, tmp_path)) == tmp_path / name


def test_named_file_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match="no file or folder") as caught:
        run(locate_hub_job(WANTED, tmp_path / "absent"))
    one_sentence(caught.value)


@pytest.mark.parametrize("right", [True, False])
def test_file_of_which_only_a_short_hash_is_published(folder: Path, right: bool) -> None:
    published = xxhash.xxh3_128(CONTENT if right else b"other").hexdigest()
    with serve(CONTENT) as server:
        job = locate_job(WeightsFile("sam.pt", server.url, f"xxh128:{published}", len(CONTENT)))
        if right:
            assert run(job).read_bytes() == CONTENT
        else:
            with pytest.raises(WeightsError, match="checksum differs"):
                run(job)
    assert (folder / "sam.pt").exists() == right
