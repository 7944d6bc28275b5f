"""Weights files are located, downloaded, verified, and read without running code."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import socket
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import napari_sampath
from napari_sampath.encoders.weights import download
from napari_sampath.encoders.weights.weights import WeightsFile, digest, load_state_dict, locate_job
from napari_sampath.errors import StorageError, UnsafeFileError, WeightsError, WeightsMissingError
from napari_sampath.files.tensor_file import dump_tensors, read_tensors
from napari_sampath.heads import load_head
from napari_sampath.jobs import Progress, run
from support.models.small_vits import one_sentence
from support.web_server import serve

CONTENT = hashlib.sha256(b"seed").digest() * 100_000  # 3.2 MB: several chunks
SHA = hashlib.sha256(CONTENT).hexdigest()


def wanted(url: str, sha: str = SHA) -> WeightsFile:
    return WeightsFile("sam_test.pth", url, sha, len(CONTENT))


# Location and download


def test_download_reports_progress_and_is_not_repeated(folder: Path) -> None:
    with serve(CONTENT) as server:
        reports: list[Progress] = []
        path = run(locate_job(wanted(server.url)), reports.append)
        assert path == folder / "sam_test.pth"
        assert path.read_bytes() == CONTENT
        done = [report.done for report in reports]
        assert done == sorted(done)
        assert len(done) > 3
        assert {report.unit for report in reports} == {"bytes"}
        assert reports[-1].fraction == 1.0
        assert run(locate_job(wanted(server.url))) == path
        assert server.seen == [None]
    assert not list(folder.glob("*.part"))


def test_broken_connection_is_resumed(folder: Path) -> None:
    with serve(CONTENT, cut_after=[1_500_000, 1_000_000]) as server:
        assert run(locate_job(wanted(server.url))).read_bytes() == CONTENT
    assert server.seen[0] is None
    starts = [int(str(seen)[6:-1]) for seen in server.seen[1:]]
    assert len(starts) == 2
    assert 1_000_000 < starts[0] <= 1_500_000 < starts[1] <= 2_500_000


def test_cancelled_download_is_resumed_later(folder: Path) -> None:
    with serve(CONTENT) as server:
        job = locate_job(wanted(server.url))
        while next(job).done < 2_000_000:
            pass
        job.close()  # cancel
        part = folder / "sam_test.pth.part"
        kept = part.stat().st_size
        assert 2_000_000 <= kept < len(CONTENT)
        assert run(locate_job(wanted(server.url))).read_bytes() == CONTENT
        assert server.seen == [None, f"bytes={kept}-"]


def test_server_without_ranges_restarts_the_download(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "sam_test.pth.part").write_bytes(b"x" * 1000)
    with serve(CONTENT, ranges=False) as server:
        assert run(locate_job(wanted(server.url))).read_bytes() == CONTENT


def test_complete_part_is_verified_and_used(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "sam_test.pth.part").write_bytes(CONTENT)
    with serve(CONTENT) as server:
        assert run(locate_job(wanted(server.url))).read_bytes() == CONTENT


def test_repeated_failure_is_an_error_and_keeps_the_part(folder: Path) -> None:
    with serve(CONTENT, cut_after=[2_000_000, 0, 0, 0, 0, 0, 0, 0]) as server:
        with pytest.raises(WeightsMissingError, match=r"2 MB were downloaded and are kept") as caught:
            run(locate_job(wanted(server.url)))
        one_sentence(caught.value)
        assert len(server.seen) == 4  # the first, and three in a row without new data
    assert (folder / "sam_test.pth.part").stat().st_size > 1_700_000


def test_download_with_wrong_hash_is_deleted(folder: Path) -> None:
    with serve(b"<html>Please log in</html>") as server:
        with pytest.raises(WeightsError, match="checksum differs") as caught:
            run(locate_job(wanted(server.url)))
        assert server.url in one_sentence(caught.value)
    assert [path.name for path in folder.iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize("status", [404, 403, 500])
def test_error_of_the_server_is_named(folder: Path, status: int) -> None:
    with serve(CONTENT, status=status) as server, pytest.raises(WeightsMissingError) as caught:
        run(locate_job(wanted(server.url)))
    assert f"returned status {status}" in one_sentence(caught.value)


def test_no_connection_names_file_and_folder(folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/sam_test.pth"
    with pytest.raises(WeightsMissingError) as caught:
        run(locate_job(wanted(url)))
    sentence = one_sentence(caught.value)
    for part in ("'sam_test.pth'", "3 MB", url, f"'{folder}'", "no connection"):
        assert part in sentence


def test_full_disk_is_an_error_before_the_download(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder.anchor)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with serve(CONTENT) as server, pytest.raises(StorageError, match=r"3 MB .* 1 MB left") as caught:
        run(locate_job(wanted(server.url)))
    one_sentence(caught.value)


def test_cache_that_cannot_be_created_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SAMPATH_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="cannot be created") as caught:
        run(locate_job(wanted("http://127.0.0.1:9/x")))
    one_sentence(caught.value)


def test_second_process_waits_for_the_first(folder: Path) -> None:
    folder.mkdir(parents=True)
    with serve(CONTENT) as server:
        with FileLock(folder / ".sam_test.pth.lock", thread_local=False):
            job = locate_job(wanted(server.url))
            assert "Waiting" in next(job).message
            (folder / "sam_test.pth").write_bytes(CONTENT)
        assert run(job) == folder / "sam_test.pth"
        assert server.seen == []


def test_file_copied_into_the_cache_by_hand_is_verified_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(parents=True)
    target = folder / "sam_test.pth"
    target.write_bytes(CONTENT)
    assert run(locate_job(wanted("http://127.0.0.1:9/x"))) == target
    hashed: list[Path] = []
    real = download._sha256
    monkeypatch.setattr(download, "_sha256", lambda path: hashed.append(path) or real(path))
    assert run(locate_job(wanted("http://127.0.0.1:9/x"))) == target
    assert hashed == []
    target.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(WeightsError, match=r"not the published .sam_test\.pth."):
        run(locate_job(wanted("http://127.0.0.1:9/x")))
    assert hashed == [target]
    assert target.exists()


def test_explicit_file_and_folder_are_used(tmp_path: Path) -> None:
    own = tmp_path / "my.pth"
    own.write_bytes(b"anything")
    nowhere = wanted("http://127.0.0.1:9/x")
    assert run(locate_job(nowhere, own)) == own
    with pytest.raises(WeightsMissingError, match=r"'sam_test.pth' \(3 MB\) is not in the folder") as caught:
        run(locate_job(nowhere, tmp_path))
    one_sentence(caught.value)
    (tmp_path / "sam_test.pth").write_bytes(b"anything")
    assert run(locate_job(nowhere, tmp_path)) == tmp_path / "sam_test.pth"
    with pytest.raises(WeightsMissingError, match="no file or folder"):
        run(locate_job(nowhere, tmp_path / "absent"))


# Reading


class _RunsCode:
    """Pickled as a call that creates a folder: if it exists, code was run."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.proof),)


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(30, 40, generator=generator),
        "a.bias": torch.randn(30, generator=generator),
        "steps": torch.tensor(7),
        "half": torch.randn(5, generator=generator).to(torch.bfloat16),
        "empty": torch.zeros(0, 3),
    }


def write(path: Path, how: str) -> None:
    state = tensors()
    if how == "safetensors":
        safetensors.torch.save_file(state, path)
    elif how == "nested":
        torch.save({"epoch": 3, "model": OrderedDict(state), "optimizer": {"lr": [1.0]}}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=how != "legacy")


@pytest.mark.parametrize("how", ["safetensors", "zip", "legacy", "nested"])
def test_all_formats_give_the_same_tensors(tmp_path: Path, how: str) -> None:
    path = tmp_path / f"w.{'safetensors' if how == 'safetensors' else 'pth'}"
    write(path, how)
    state = load_state_dict(path)
    assert state.keys() == tensors().keys()
    for key, value in tensors().items():
        assert torch.equal(state[key], value)
        assert state[key].dtype == value.dtype
    assert digest(state) == digest(tensors())


def test_safetensors_are_recognised_by_content(tmp_path: Path) -> None:
    write(tmp_path / "w.pth", "safetensors")
    assert load_state_dict(tmp_path / "w.pth").keys() == tensors().keys()


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle0", "pickle4"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_pickle_that_would_run_code_is_rejected(tmp_path: Path, how: str, suffix: str) -> None:
    proof, path = tmp_path / "code-was-run", tmp_path / f"w.{suffix}"
    bad = {"weights": tensors()["a.weight"], "extra": _RunsCode(proof)}
    if how in ("zip", "legacy"):
        torch.save(bad, path, _use_new_zipfile_serialization=how == "zip")
    else:
        path.write_bytes(pickle.dumps(_RunsCode(proof), protocol=int(how[-1])))
    with pytest.raises(WeightsError) as caught:
        load_state_dict(path)
    assert not proof.exists()
    one_sentence(caught.value)
    if suffix == "pth" and how != "pickle0":  # protocol 0 is text, which does not start like a pickle
        assert isinstance(caught.value, UnsafeFileError)
        assert "mkdir" in str(caught.value)
    if how.startswith("pickle"):
        pickle.loads(path.read_bytes())
        assert proof.exists(), "the file would have run code"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"<html>404</html>", "not a weights file"),
        (b"PK\x03\x04 but no archive", "truncated, damaged"),
        (b"\x80\x02", "truncated, damaged"),
        (pickle.dumps([1, 2], protocol=2), "not a weights file"),
        (pickle.dumps({"a": 1}, protocol=2), "not a weights file"),
        ((8).to_bytes(8, "little") + b"{        ", "truncated, damaged"),
    ],
)
def test_other_files_are_rejected(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=says) as caught:
        load_state_dict(path)
    assert str(path) in one_sentence(caught.value)


def test_missing_file_and_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match="no weights file"):
        load_state_dict(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="is a folder"):
        load_state_dict(tmp_path)


def test_file_without_tensors_is_rejected(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "names": ["a"]}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="has no weights"):
        load_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("how", ["safetensors", "zip", "legacy"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_raise_one_sentence(tmp_path: Path, how: str, data: st.DataObject) -> None:
    """A truncated file always raises; a changed byte raises or changes a value."""
    good = tmp_path / f"good-{how}"
    if not good.exists():
        write(good, how)
    content = bytearray(good.read_bytes())
    cut = data.draw(st.booleans())
    place = data.draw(st.integers(0, len(content) - 1))
    if cut:
        content = content[:place]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    bad = tmp_path / "bad"
    bad.write_bytes(bytes(content))
    try:
        state = load_state_dict(bad)
    except WeightsError as error:
        one_sentence(error)
    else:
        assert not cut
        assert all(isinstance(value, torch.Tensor) for value in state.values())


# Digest


def test_digest_ignores_order_and_changes_with_content() -> None:
    state = tensors()
    original = digest(state)
    assert len(original) == 32
    assert digest(dict(reversed(state.items()))) == original
    changes = [
        state | {"a.weight": state["a.weight"].index_fill(0, torch.tensor([29]), 0.5)},
        state | {"a.weight": state["a.weight"].reshape(40, 30)},
        state | {"half": state["half"].float()},
        {key.replace("a.", "b."): value for key, value in state.items()},
        {key: value for key, value in state.items() if key != "steps"},
    ]
    assert len({original, *map(digest, changes)}) == len(changes) + 1
    transposed = state | {"a.weight": state["a.weight"].T.contiguous().T}
    assert digest(transposed) == original, "memory layout does not matter"


def flipped(path: Path, position: int) -> Path:
    """Write a copy of a file with one bit changed."""
    content = bytearray(path.read_bytes())
    content[position] ^= 16
    copy = path.with_name(f"flipped-{path.name}")
    copy.write_bytes(content)
    return copy


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_flipped_bit_in_a_weight_is_found(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        write(path, "zip")
    else:
        path.write_bytes(dump_tensors(tensors(), {"licence": "CC0"}))
    assert load_state_dict(path).keys() == tensors().keys()
    values = tensors()["a.weight"].numpy().tobytes()
    start = path.read_bytes().index(values)
    for position in (start, start + 1001, start + len(values) - 1):
        with pytest.raises(WeightsError, match=r"damaged|digest") as caught:
            load_state_dict(flipped(path, position))
        one_sentence(caught.value)


def test_a_zip_member_that_cannot_be_decompressed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(9_000))
    content = bytearray(path.read_bytes())
    start = content.index(b"archive/data.pkl") + len(b"archive/data.pkl")
    content[start] = 0xFF  # a type of blocks that does not exist
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="truncated, damaged or not a weights file"):
        load_state_dict(path)


def test_listed_digests_are_checked(tmp_path: Path) -> None:
    """Files without a digest of their own, as the shipped ones, have it in SHA256SUMS."""
    path = tmp_path / "w.safetensors"
    write(path, "safetensors")
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  w.safetensors\n")
    load_state_dict(path)
    copy = flipped(path, path.stat().st_size - 40)
    load_state_dict(copy)
    copy.replace(path)
    with pytest.raises(WeightsError, match="digest in SHA256SUMS"):
        load_state_dict(path)


@pytest.mark.parametrize("folder_name", ["encoders/shipped", "heads/bundles"])
def test_shipped_weights_have_digests(folder_name: str) -> None:
    folder = Path(napari_sampath.__file__).parent / folder_name
    files = sorted(folder.glob("*.safetensors"))
    assert files
    for path in files:
        assert read_tensors(path).verified, path.name


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    for suffix in ("pth", "safetensors"):
        path = tmp_path / f"w.{suffix}"
        {
            "pipe": lambda path=path: os.mkfifo(path),
            "device": lambda path=path: path.symlink_to("/dev/zero"),
            "folder": path.mkdir,
        }[kind]()
        for load in (load_state_dict, load_head):
            with pytest.raises(WeightsError) as caught:
                load(path)
            one_sentence(caught.value)
