"""Features from another machine: equal to the bit, over TLS, through bad connections, with wrong tokens and bodies."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import requests
import safetensors.torch
import torch
import trustme

from napari_sampath import __version__
from napari_sampath.cli import main
from napari_sampath.encoders.remote import RemoteEncoder, client, connect
from napari_sampath.encoders.remote.protocol import (
    CHECKSUM,
    FEATURES,
    INFO,
    MAX_BODY_BYTES,
    PROTOCOL,
    SHAPE,
    ServerInfo,
    checksum,
    pack_pixels,
)
from napari_sampath.errors import ConfigError
from napari_sampath.geometry import Frame
from napari_sampath.predict import Model
from napari_sampath.server import app, time_limits
from napari_sampath.server.serving import check_access, make_server, read_token
from napari_sampath.tiling import tiles
from support.models.patches import PatchEncoder, disc_image, patch_model
from support.programs.feature_server import TOKEN, proxy, serving

PIXELS = disc_image(3, (200, 200))[0]
FRAMES = tiles(PIXELS.shape[:2], 128, 32)
DIGEST = "0" * 64


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token.txt"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def remote_model() -> Model:
    return patch_model()


@pytest.fixture
def address(remote_model: Model) -> Iterator[str]:
    with serving(remote_model) as address:
        yield address


def messages(server: RemoteEncoder) -> list[str]:
    said: list[str] = []
    server.on_failure = said.append
    return said


def encoded(model: Model) -> list[torch.Tensor]:
    return [features.maps["embedding"] for features in model.encode_tiles(PIXELS, FRAMES)]


@cache
def local_features() -> list[torch.Tensor]:
    return encoded(patch_model())


def assert_equal_to_local(model: Model) -> None:
    for remote, local in zip(encoded(model), local_features(), strict=True):
        assert remote.dtype == torch.float32
        assert torch.equal(remote, local)


def said_once_by(server: RemoteEncoder) -> str:
    """Compute features here, because the server does not work, and return the only sentence about it."""
    said, model = messages(server), patch_model()
    model.tiles.use_server(server)
    assert_equal_to_local(model)
    (sentence,) = said
    return sentence


def test_features_equal_local_ones_to_the_bit(remote_model: Model, address: str, token_file: Path) -> None:
    model = patch_model()
    server = connect(address, token_file)
    said = messages(server)
    model.tiles.use_server(server)
    assert_equal_to_local(model)
    assert model.encoder.passes == 0
    assert remote_model.encoder.passes == len(FRAMES)
    # Another person's tiles are there already; this one's are in the store and need no server
    other = patch_model()
    other.tiles.use_server(connect(address, token_file))
    assert_equal_to_local(other)
    assert (remote_model.encoder.passes, other.encoder.passes) == (len(FRAMES), 0)
    assert_equal_to_local(model)
    assert said == []


def test_a_server_without_encryption_is_not_called_untrusted(address: str, token_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"\(it does not encrypt; give http://"):
        connect(address.replace("http://", "https://"), token_file)


@pytest.mark.parametrize("expired", [False, True])
def test_tls_checks_the_certificate(expired: bool, token_file: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(days=-1 if expired else 1)
    issued = authority.issue_cert("127.0.0.1", not_before=now - datetime.timedelta(days=2), not_after=end)
    certificate, ca = tmp_path / "certificate.pem", tmp_path / "ca.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    authority.cert_pem.write_to_path(str(ca))
    with serving(patch_model(), certificate) as address:
        assert address.startswith("https://")
        with pytest.raises(ConfigError, match="its certificate is not trusted"):
            connect(address, token_file)
        if expired:
            with pytest.raises(ConfigError, match="its certificate is not trusted"):
                connect(address, token_file, ca)
            return
        model = patch_model()
        model.tiles.use_server(connect(address, token_file, ca))
        assert_equal_to_local(model)
        assert model.encoder.passes == 0


class Damage:
    """Changes the first answers that carry features."""

    def __init__(self, kind: str, count: int) -> None:
        self.kind, self.left = kind, count

    def __call__(self, part: bytes) -> bytes | None:
        # Whatever is shorter are headers
        if len(part) < 1000:
            return part
        if self.left <= 0:
            return part
        self.left -= 1
        if self.kind == "cut":
            return None
        if self.kind == "delay":
            time.sleep(1)
            return part
        if self.kind == "headers only":
            head, end, _ = part.partition(b"\r\n\r\n")
            return head + end if end else b""
        return part[:-9] + bytes([part[-9] ^ 1]) + part[-8:]


@pytest.mark.parametrize("kind", ["cut", "corrupt"])
def test_damaged_answers_are_asked_again(kind: str, address: str, token_file: Path) -> None:
    with proxy(address, Damage(kind, 2)) as bad:
        model = patch_model()
        server = connect(bad, token_file)
        said = messages(server)
        model.tiles.use_server(server)
        assert_equal_to_local(model)
        assert (said, model.encoder.passes) == ([], 0)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("cut", "there is no connection"),
        ("corrupt", "its answer was damaged"),
        ("delay", "does not answer in time"),
        ("headers only", "does not answer in time"),
    ],
)
def test_a_connection_that_stays_bad_means_this_machine(
    kind: str, reason: str, address: str, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind in ("delay", "headers only"):
        monkeypatch.setattr(client, "ANSWER_S", 0.3)
    with proxy(address, Damage(kind, 10**6)) as bad:
        server = connect(bad, token_file)
        said = said_once_by(server)
    assert reason in said
    assert "tiles are computed on this machine" in said
    assert not server.works


class Answers(BaseHTTPRequestHandler):
    """A server that is not `sampath serve`, or is another one than it says."""

    protocol_version = "HTTP/1.1"
    info: ClassVar[dict[str, object]] = {}
    status, headers_of, content = 200, {}, b""
    pause_s = 0.0

    def do_GET(self) -> None:
        if self.path == INFO:
            self.answer(200, {}, json.dumps(self.info).encode())
        else:
            self.answer(self.status, self.headers_of, self.content)

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {
            CHECKSUM: checksum(content),
            "Content-Length": str(len(content)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            for part in (content[start : start + 2**16] for start in range(0, len(content), 2**16)):
                self.wfile.write(part)
                time.sleep(self.pause_s)

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture
def something_else() -> Iterator[tuple[str, type[Answers]]]:
    encoder = PatchEncoder()
    of_model = ServerInfo(PROTOCOL, __version__, "patches", encoder.weights_digest, "float32", 1)
    handler = type("Handler", (Answers,), {"info": of_model.to_json()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


MAPS = {"embedding": torch.zeros(8, 64, 64, dtype=torch.float16)}
WRONG = {
    "another name": {"tokens": MAPS["embedding"]},
    "another shape": {"embedding": MAPS["embedding"][:, :32].contiguous()},
    "another number of channels": {"embedding": MAPS["embedding"][:4]},
    "another type": {"embedding": MAPS["embedding"].float()},
    "one map more": {**MAPS, "tokens": MAPS["embedding"]},
    "values that are no numbers": {"embedding": MAPS["embedding"] * float("nan")},
}


@pytest.mark.parametrize("kind", WRONG)
def test_features_of_another_kind_are_neither_used_nor_kept(
    kind: str, something_else: tuple[str, type[Answers]], token_file: Path
) -> None:
    address, handler = something_else
    handler.content = safetensors.torch.save({name: values.clone() for name, values in WRONG[kind].items()})
    assert "its answer was damaged" in said_once_by(connect(address, token_file))


@pytest.mark.parametrize(
    ("status", "headers", "content", "pause_s", "reason"),
    [
        (429, {"Retry-After": "nan"}, b"", 0.0, "it is busy"),
        (429, {"Retry-After": "-1"}, b"", 0.0, "it is busy"),
        (200, {}, bytes(2**21), 0.0, "its answer is too large"),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(2**24)), 0.0, "its answer is too large"),
        (200, {"Content-Encoding": "gzip"}, b"no gzip", 0.0, "there is no connection"),
        (200, {}, bytes(2**20), 0.1, "it does not answer in time"),
        (302, {"Location": "http://example.org/"}, b"", 0.0, "status 302"),
        (500, {"Content-Type": "text/plain"}, b"\x00\x1b[31m", 0.0, "status 500"),
    ],
)
def test_answers_of_something_else_mean_this_machine(
    status: int,
    headers: dict[str, str],
    content: bytes,
    pause_s: float,
    reason: str,
    something_else: tuple[str, type[Answers]],
    token_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, handler = something_else
    handler.status, handler.headers_of, handler.content, handler.pause_s = status, headers, content, pause_s
    monkeypatch.setattr(client, "BUSY_S", 0.3)
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 2**20)
    monkeypatch.setattr(client, "WHOLE_ANSWER_S", 0.3)
    assert reason in said_once_by(connect(address, token_file))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("version", "0.0", "has version 0.0 of napari-sampath"),
        ("protocol", 2, "is not a server of this version"),
        ("precision", "float8", "precision"),
        ("weights", "0" * 64, "other weights of 'patches'"),
        ("preprocessing", 2, "other weights of 'patches'"),
        ("encoder", 7, "is not a server of this version"),
    ],
)
def test_another_server_is_refused_before_a_tile_is_sent(
    field: str, value: object, words: str, something_else: tuple[str, type[Answers]], token_file: Path
) -> None:
    address, handler = something_else
    handler.info[field] = value
    model = patch_model()
    with pytest.raises(ConfigError, match=words):
        model.tiles.use_server(connect(address, token_file))


def test_a_server_that_fails_now_and_then_is_reported_once(address: str, token_file: Path) -> None:
    server = connect(address, token_file)
    said = messages(server)
    released = threading.Event()
    request = server._request

    def now_and_then(pixels: np.ndarray, *args: Any) -> Any:
        if pixels[0, 0, 0] == PIXELS[FRAMES[0].slices][0, 0, 0]:
            released.wait(30)
            return request(pixels, *args)
        try:
            raise client._Failure("status 500")
        finally:
            released.set()

    server._request = now_and_then  # type: ignore[method-assign]
    model = patch_model()
    model.tiles.use_server(server)
    assert_equal_to_local(model)
    assert len(said) == 1
    assert not server.works


def test_damaged_pixels_are_not_computed(address: str, token_file: Path, remote_model: Model) -> None:
    def corrupt(part: bytes) -> bytes:
        # The headers may come by themselves, and a damaged length would leave the server waiting for more.
        pixels = part.partition(b"\r\n\r\n")[2] if part.startswith((b"GET", b"POST")) else part
        return part if len(pixels) < 5 else part[:-5] + bytes([part[-5] ^ 1]) + part[-4:]

    with proxy(address, questions=corrupt) as bad:
        said_once_by(connect(bad, token_file))
    assert remote_model.encoder.passes == 0


def test_a_server_that_is_gone_is_replaced_by_this_machine(token_file: Path) -> None:
    with serving(patch_model()) as address:
        server = connect(address, token_file)
    said_once_by(server)
    with pytest.raises(ConfigError, match="check the address"):
        connect(address, token_file)


def test_a_server_that_is_restarted_between_two_tiles_goes_on(token_file: Path) -> None:
    model = patch_model()
    with serving(patch_model()) as address:
        server = connect(address, token_file)
        said = messages(server)
        model.tiles.use_server(server)
        first = list(model.encode_tiles(PIXELS, FRAMES[:1]))
    with serving(patch_model(), port=int(address.rpartition(":")[2])):
        rest = list(model.encode_tiles(PIXELS, FRAMES[1:]))
    assert (said, model.encoder.passes) == ([], 0)
    for features, expected in zip(first + rest, local_features(), strict=True):
        assert torch.equal(features.maps["embedding"], expected)


def test_a_tunnel_does_not_lead_through_a_proxy(
    address: str, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_S", 0.5)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{listening.getsockname()[1]}")
        assert connect(address, token_file).info.encoder == "patches"
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_another_model_is_refused_before_a_tile_is_sent(
    address: str, token_file: Path, remote_model: Model
) -> None:
    server = connect(address, token_file)
    with pytest.raises(ConfigError, match="other weights of 'patches'"):
        patch_model(seed=1).tiles.use_server(server)
    assert remote_model.encoder.passes == 0


def test_wrong_tokens_block_only_themselves(address: str, token_file: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("x" * 43)
    for _ in range(app.MAX_FAILURES):
        with pytest.raises(ConfigError, match="refuses the token"):
            connect(address, wrong)
    with pytest.raises(ConfigError, match="Too many wrong tokens"):
        connect(address, wrong)
    # Everybody behind an SSH tunnel has the same address
    assert connect(address, token_file).info.encoder == "patches"


@pytest.mark.parametrize(
    ("path", "shape", "body", "status"),
    [
        (DIGEST, "8,8,1024", pack_pixels(np.zeros((8, 8, 3), np.uint8)), 400),  # pixels of another digest
        (DIGEST, "8,9,1024", pack_pixels(np.zeros((8, 8, 3), np.uint8)), 400),
        (DIGEST, "9,8,1024", pack_pixels(np.zeros((800, 800, 3), np.uint8)), 400),  # more than announced
        (DIGEST, "99999,99999,1024", b"", 400),
        (DIGEST, "8,8,4096", pack_pixels(np.zeros((8, 8, 3), np.uint8)), 400),  # 16 times the memory
        (DIGEST, "8,8,1", pack_pixels(np.zeros((8, 8, 3), np.uint8)), 400),
        (DIGEST, "8", b"", 400),
        (DIGEST, "8,8,1024", b"no pixels", 400),
        (DIGEST, "8,8,1024", bytes(MAX_BODY_BYTES + 1), 413),
        ("..%2F..%2Fetc", "8,8,1024", b"", 404),
        ("ABC", "8,8,1024", b"", 400),
    ],
)
def test_bad_requests_are_answered_by_a_sentence(
    path: str, shape: str, body: bytes, status: int, address: str, remote_model: Model
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", SHAPE: shape}
    answer = requests.post(address + FEATURES + path, data=body, headers=headers, timeout=30)
    assert answer.status_code == status
    assert len(answer.text) < 200
    assert remote_model.encoder.passes == 0


@pytest.mark.parametrize("requests_before", [0, 1])
def test_slow_headers_end_the_connection(
    requests_before: int, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limits, "HEADERS_S", 0.3)
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=30) as connection:
        for _ in range(requests_before):
            connection.sendall(b"GET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(2**16).startswith(b"HTTP/1.1 401")
        connection.sendall(b"GET /v1/info HTTP/1.1\r\nHost: ")
        while connection.recv(2**16):  # The rest of the answer, then the end
            pass


@pytest.mark.parametrize("token", [TOKEN, "wrong"])
def test_slow_bodies_end_the_connection(token: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of requests that have been answered without their bodies; anybody could occupy all connections with them."""
    monkeypatch.setattr(time_limits, "BODY_S", 0.5)
    head = f"POST {FEATURES}{DIGEST} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    head += f"{SHAPE}: 8,8,1024\r\nContent-Length: 1000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall(head.encode())
        sent = 0
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                sent += connection.send(b"x")
                time.sleep(0.05)
        assert 0 < sent < 200


def test_a_client_that_does_not_read_its_answer_is_closed(
    address: str, token_file: Path, remote_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limits, "UNREAD_S", 0.3)
    large = bytes(10**8)
    monkeypatch.setattr(app.FeatureServer, "_kept", lambda *_: large)
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=30) as connection:
        question = (
            f"GET {FEATURES}{DIGEST} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        )
        connection.sendall(question.encode())
        time.sleep(1.5)
        received = 0
        try:
            while part := connection.recv(2**20):
                received += len(part)
        except ConnectionResetError:
            pass
        assert received < len(large)


def test_a_body_without_length_is_limited(address: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", SHAPE: "8,8,1024"}
    parts = (bytes(10**6) for _ in range(100))
    try:
        status = requests.post(
            address + FEATURES + DIGEST, data=parts, headers=headers, timeout=30
        ).status_code
    except requests.ConnectionError:  # the server has closed the connection while the client was sending
        status = 413
    assert status == 413


def test_fifty_clients_at_once(
    address: str, token_file: Path, remote_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MAX_REQUESTS", 4)
    before = threading.active_count()
    expected = local_features()

    def ask(number: int) -> torch.Tensor:
        model = patch_model()
        server = connect(address, token_file)
        said = messages(server)
        model.tiles.use_server(server)
        frame: Frame = FRAMES[number % len(FRAMES)]
        (features,) = model.encode_tiles(PIXELS, [frame])
        assert (said, model.encoder.passes) == ([], 0)
        return features.maps["embedding"]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(50)))
    for number, answer in enumerate(answers):
        assert torch.equal(answer, expected[number % len(FRAMES)])
    # Starlette keeps up to 40 threads for answers
    assert threading.active_count() <= before + 41


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "example.org"])
def test_other_machines_need_a_certificate(host: str) -> None:
    with pytest.raises(ConfigError, match="a certificate is needed"):
        make_server(patch_model(), TOKEN, host, 0)


def test_a_certificate_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    for path in (tmp_path / "no.pem", tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match="cannot be used"):
            make_server(patch_model(), TOKEN, "127.0.0.1", 0, path)


def test_a_key_needs_its_certificate_and_no_password(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    issued = trustme.CA().issue_cert("127.0.0.1")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    private = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    key.write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    with pytest.raises(ConfigError, match="without a password"):
        check_access("127.0.0.1", certificate, key)
    with pytest.raises(ConfigError, match="there is no certificate"):
        check_access("127.0.0.1", None, key)


def test_token_files_are_created_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "token.txt"
    token, is_new = read_token(path)
    assert (len(token), is_new, read_token(path)) == (43, True, (token, False))
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o644)
        with pytest.raises(ConfigError, match=r"^Others can read .*run 'chmod 600 [^;]*$"):
            read_token(path)
        path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(ConfigError, match="has 5 characters"):
        read_token(path)
    with pytest.raises(ConfigError, match="cannot be used"):
        read_token(tmp_path / "missing" / "token.txt")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://example.org:8765", "is not encrypted"),
        ("http://10.0.0.3", "is not encrypted"),
        ("example.org", "is not the address of a server"),
        ("ftp://example.org", "is not the address of a server"),
        ("https://me:secret@example.org", "is not the address of a server"),
        ("https://example.org/somewhere", "is not the address of a server"),
        ("https://[broken", "is not the address of a server"),
        ("https://example.org:port", "is not the address of a server"),
        ("https://gpu..example.org:8443", "is not the address of a server"),
        (f"https://{'a' * 64}.org", "is not the address of a server"),
    ],
)
def test_addresses_are_checked(address: str, words: str, token_file: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        connect(address, token_file)


def test_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sampath serve` in a process, `sampath encode --runs-on` here."""
    from PIL import Image

    token, image = tmp_path / "token.txt", tmp_path / "tissue.png"
    Image.fromarray(PIXELS[:64, :64]).save(image)
    flags = ["--runs-on", "http://127.0.0.1:1", "--cache", str(tmp_path / "cache")]
    encode = ["encode", str(image), "--for", "heads", "--json"]
    assert main([*encode, *flags]) == 1
    assert "--runs-on needs --token-file" in capsys.readouterr().err
    command = [sys.executable, "-m", "napari_sampath", "serve", "--token-file", str(token), "--port", "0"]
    process = subprocess.Popen([*command, "--device", "cpu"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving sampath-tiny at http://127.0.0.1:")
        flags[1] = line.split()[3].rstrip(";")
        assert main([*encode, *flags, "--token-file", str(token)]) == 0
        assert '"tiles": 1' in capsys.readouterr().out
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
