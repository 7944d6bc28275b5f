"""Weights on the Hugging Face Hub: tokens, hashes, resumed downloads; or one sentence on how to get the file."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import xxhash

from napari_sampath.encoders import registry
from napari_sampath.encoders.weights.hub import HubFile, locate_hub_job
from napari_sampath.encoders.weights.weights import WeightsFile, locate_job
from napari_sampath.errors import WeightsError, WeightsMissingError
from napari_sampath.jobs import run
from support.models.small_vits import one_sentence
from support.web_server import MEMBER, STRANGER, serve, serve_hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.web_server import HubScript

CONTENT = hashlib.sha256(b"hub").digest() * 40_000  # 1.3 MB
PUBLIC = HubFile("net-s16.safetensors", "owner/net", len(CONTENT))
GATED = HubFile("closed.bin", "owner/closed", 1_210_000_000, gated=True, file="pytorch_model.bin")
RESOLVE = "/owner/closed/resolve/main/pytorch_model.bin"

Serve = "Callable[..., HubScript]"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a hub with given behaviour and name it in HF_ENDPOINT, as a mirror is named."""
    import contextlib

    with contextlib.ExitStack() as stack:

        def start(**behaviour: object) -> HubScript:
            script = stack.enter_context(serve_hub(CONTENT, **behaviour))
            monkeypatch.setenv("HF_ENDPOINT", script.url)
            return script

        yield start


@pytest.mark.parametrize("renamed", ["", "owner/new-net"])
def test_download_is_verified_against_the_published_hash(folder: Path, hub: Serve, renamed: str) -> None:
    script = hub(renamed=renamed)
    path = run(locate_hub_job(PUBLIC))
    assert path == folder / PUBLIC.name
    assert path.read_bytes() == CONTENT
    count = len(script.requests)
    assert run(locate_hub_job(PUBLIC)) == path
    assert len(script.requests) == count
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(WeightsError, match="checksum differs") as caught:
        run(locate_hub_job(PUBLIC))
    one_sentence(caught.value)


def test_download_with_another_hash_is_deleted(folder: Path, hub: Serve) -> None:
    hub(sha256="0" * 64)
    with pytest.raises(WeightsError, match="checksum differs"):
        run(locate_hub_job(PUBLIC))
    assert not (folder / PUBLIC.name).exists()


def test_file_without_a_published_hash_is_downloaded(hub: Serve) -> None:
    hub(sha256=None)
    assert run(locate_hub_job(PUBLIC)).read_bytes() == CONTENT


def test_broken_and_cancelled_downloads_are_resumed_with_the_token(
    folder: Path, hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", MEMBER)
    script = hub(gated=True, cut_after=[700_000])
    job = locate_hub_job(GATED)
    while next(job).done < 1_000_000:
        pass
    job.close()  # cancel
    received = (folder / f"{GATED.name}.part").stat().st_size
    assert run(locate_hub_job(GATED)).read_bytes() == CONTENT
    first, broken, cancelled = script.seen
    assert (first, cancelled) == (None, f"bytes={received}-")
    assert 0 < int(str(broken)[6:-1]) <= 700_000 < received


def test_token_is_sent_to_the_hub_only(hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", MEMBER)
    script = hub(gated=True)
    assert run(locate_hub_job(GATED)).read_bytes() == CONTENT
    assert set(script.requests) == {f"HEAD {RESOLVE} {MEMBER}", f"GET {RESOLVE} {MEMBER}", "GET /cdn/blob"}


def test_token_is_not_stored(folder: Path, hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", MEMBER)
    hub(gated=True)
    run(locate_hub_job(GATED))
    assert not [path for path in folder.iterdir() if MEMBER.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("token", "advice"),
    [
        ("", "log in with 'hf auth login' or set HF_TOKEN"),
        (STRANGER, "wait until it is granted"),
    ],
)
def test_gated_file_without_access_names_the_page(
    folder: Path, hub: Serve, monkeypatch: pytest.MonkeyPatch, token: str, advice: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    script = hub(gated=True)
    with pytest.raises(WeightsMissingError) as caught:
        run(locate_hub_job(GATED))
    sentence = one_sentence(caught.value)
    for part in (
        "on request only",
        "ask for access at https://huggingface.co/owner/closed",
        advice,
        "'pytorch_model.bin'",
        "'closed.bin'",
        f"'{folder}'",
    ):
        assert part in sentence
    assert script.requests == ([f"HEAD {RESOLVE} {token}"] if token else [])


@pytest.mark.parametrize("wanted", [PUBLIC, GATED])
def test_invalid_token_is_named_as_the_cause(
    hub: Serve, monkeypatch: pytest.MonkeyPatch, wanted: HubFile
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    hub(gated=wanted.gated)
    with pytest.raises(WeightsMissingError, match=r"does not accept your token.*'hf auth login'") as caught:
        run(locate_hub_job(wanted))
    assert wanted.page in one_sentence(caught.value)


@pytest.mark.parametrize("name", ["uni", "uni2-h", "h-optimus-0"])
def test_gated_models_are_downloaded_with_a_token(
    hub: Serve, monkeypatch: pytest.MonkeyPatch, folder: Path, name: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", MEMBER)
    hub(gated=True)
    entry = registry[name]
    assert entry.info.gated
    assert not entry.is_downloaded()
    assert entry.fetch is not None
    assert run(entry.fetch(None)) == folder / entry.file
    assert entry.is_downloaded()


def test_login_and_cache_of_the_hub_are_used(
    folder: Path, hub: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, because huggingface_hub reads HF_HOME and HF_ENDPOINT when it is imported."""
    program = f"""
import huggingface_hub
huggingface_hub.login({MEMBER!r})
from napari_sampath.encoders.weights.hub import HubFile, locate_hub_job
from napari_sampath.jobs import run
gated = HubFile("closed.bin", "owner/closed", 0, gated=True, file="pytorch_model.bin")
print(run(locate_hub_job(gated)))
huggingface_hub.hf_hub_download("owner/other", "model.safetensors")
print(run(locate_hub_job(HubFile("other.safetensors", "owner/other", 0))))
"""
    script = hub(gated=True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ)
    assert result.returncode == 0, result.stderr
    downloaded, shared = result.stdout.splitlines()[-2:]
    assert downloaded == str(folder / "closed.bin")
    assert shared.startswith(str(tmp_path / "hub" / "models--owner--other"))
    assert [line for line in script.requests if "owner/other" in line] == [
        f"{method} /owner/other/resolve/main/model.safetensors {MEMBER}" for method in ("HEAD",)
    ]


@pytest.mark.parametrize("status", [401, 404, 500])
def test_error_of_the_hub_is_named(folder: Path, hub: Serve, status: int) -> None:
    hub(status=status)
    with pytest.raises(WeightsMissingError) as caught:
        run(locate_hub_job(PUBLIC))
    sentence = one_sentence(caught.value)
    assert f"returned status {status}" in sentence
    assert "'net-s16.safetensors'" in sentence
    assert f"'{folder}'" in sentence


@pytest.mark.parametrize("token", ["", MEMBER])
def test_no_connection_is_one_sentence_at_once(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
    wanted = GATED if token else PUBLIC
    with pytest.raises(WeightsMissingError, match="cannot be reached") as caught:
        run(locate_hub_job(wanted))
    assert f"/{wanted.repository}/resolve/main/{wanted.file}" in one_sentence(caught.value)


def test_file_copied_into_the_cache_by_hand_is_used(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    (folder / GATED.name).write_bytes(b"by hand")
    assert run(locate_hub_job(GATED)) == folder / GATED.name
    own = tmp_path / "mine.bin"
    own.write_bytes(b"mine")
    assert run(locate_hub_job(GATED, own)) == own


@pytest.mark.parametrize("name", [GATED.name, GATED.file])
def test_folder_is_searched_for_both_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsMissingError, match="is not in the folder") as caught:
        run(locate_hub_job(GATED, tmp_path))
    one_sentence(caught.value)
    (tmp_path / name).write_bytes(b"weights")
    assert run(locate_hub_job(GATED, tmp_path)) == tmp_path / name


def test_missing_explicit_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match="no file or folder") as caught:
        run(locate_hub_job(PUBLIC, tmp_path / "absent"))
    one_sentence(caught.value)


@pytest.mark.parametrize("right", [True, False])
def test_xxh128_hash_is_verified(folder: Path, right: bool) -> None:
    published = xxhash.xxh3_128(CONTENT if right else b"other").hexdigest()
    with serve(CONTENT) as server:
        job = locate_job(WeightsFile("sam.pt", server.url, f"xxh128:{published}", len(CONTENT)))
        if right:
            assert run(job).read_bytes() == CONTENT
        else:
            with pytest.raises(WeightsError, match="checksum differs"):
                run(job)
    assert (folder / "sam.pt").exists() == right
