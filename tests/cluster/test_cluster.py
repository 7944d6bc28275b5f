"""Runs on the workers of a dask scheduler: two processes, one of which is killed, give the result of one."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_sampath import __version__
from napari_sampath.cli import main
from napari_sampath.cluster import ModelSpec, SlideSpec, cluster_slide_job, connection, running, tasks, worker
from napari_sampath.errors import ConfigError, ImageError, SampathError
from napari_sampath.formats.maps.slide_objects import objects_of
from napari_sampath.formats.maps.slide_result import SlideResult
from napari_sampath.jobs import run
from napari_sampath.predict import load_model
from napari_sampath.predict.instances.settings import InstanceSettings
from support.slide_files import BIOPSY as PIXELS
from support.slide_files import BIOPSY_HW as HW
from support.slide_files import program_with_small_blocks, use_small_blocks, write_biopsy

distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")

BLOCK_PX = 160


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four blocks on a small slide, in this process."""
    use_small_blocks(monkeypatch, BLOCK_PX)
    monkeypatch.setattr(connection, "CONNECT_S", 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Any]:
    """Two worker processes that start in 'folder'."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMPATH_CACHE", str(folder / "cache"))
        patch.setenv("SAMPATH_DEVICE", "cpu")
        (folder / "small_blocks.py").write_text(program_with_small_blocks(BLOCK_PX))
        cluster = distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=":0",
            local_directory=str(folder / "dask"),
            preload=[str(folder / "small_blocks.py")],
        )
        with cluster, distributed.Client(cluster, set_as_default=False) as client:
            yield client


@pytest.fixture(scope="module")
def slide(folder: Path) -> Path:
    return write_biopsy(folder / "biopsy.svs")


@pytest.fixture(scope="module")
def expected(folder: Path, slide: Path) -> Path:
    """The result of one process."""
    output = folder / "expected.ome.zarr"
    with pytest.MonkeyPatch.context() as patch:
        use_small_blocks(patch, BLOCK_PX)
        assert main(words(slide, output)) == 0
    return output


def words(slide: Path, output: Path, *more: str) -> list[str]:
    fixed = ["--device", "cpu", "--tissue", "all", "--quiet", "--json", "--precision", "float32"]
    objects = ["--objects", "--outlines"]
    return ["segment", str(slide), "--head", "gland-cnn", "-o", str(output), *fixed, *objects, *more]


def assert_equal(first: Path, second: Path) -> None:
    one, other = (SlideResult(path, HW) for path in (first, second))
    assert one.is_complete
    for name in ("classes", "confidence"):
        np.testing.assert_array_equal(one.read(name, (0, 0, *HW)), other.read(name, (0, 0, *HW)))
    objects, others = objects_of(first), objects_of(second)
    assert objects is not None
    assert others is not None
    np.testing.assert_array_equal(objects.numbers((0, 0, *HW)), others.numbers((0, 0, *HW)))
    np.testing.assert_array_equal(objects.table.box, others.table.box)
    assert objects.predicted_iou is not None
    assert others.predicted_iou is not None
    assert np.isfinite(objects.predicted_iou).any()
    np.testing.assert_array_equal(objects.predicted_iou, others.predicted_iou)


@pytest.mark.timeout(600)
def test_a_slide_on_two_workers(
    client: Any, slide: Path, expected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result.ome.zarr"
    address = client.scheduler.address
    capsys.readouterr()
    assert main(words(slide, output, "--scheduler", address)) == 0
    assert json.loads(capsys.readouterr().out)["computed"] == 4
    assert_equal(output, expected)
    assert main(words(slide, output, "--scheduler", address)) == 0
    assert json.loads(capsys.readouterr().out)["computed"] == 0


@pytest.mark.timeout(600)
def test_a_worker_is_killed_in_a_run(client: Any, slide: Path, expected: Path, tmp_path: Path) -> None:
    from napari_sampath.heads import load_head
    from napari_sampath.images.slides import open_slide
    from napari_sampath.images.slides.tissue import Tissue, save_tissue
    from napari_sampath.predict.whole_slide import SlidePlan

    head, tissue = load_head("gland-cnn"), Tissue(np.ones((1, 1), bool), max(HW))
    model = ModelSpec(head.encoder_name, None, "cpu", "float32")
    path = tmp_path / "result.ome.zarr"
    with open_slide(slide) as opened:
        loaded = load_model(model.name, "cpu", precision="float32")
        plan = SlidePlan.make(opened, head, loaded, path, tissue)
        save_tissue(path / "tissue.npz", tissue)
        spec = SlideSpec(str(slide), "gland-cnn", model, str(path), str(path / "tissue.npz"))
        job = cluster_slide_job(plan, spec, client.scheduler.address, InstanceSettings(outlines=True))
        pids = list(client.run(os.getpid).values())
        progress = next(job)
        os.kill(pids[0], signal.SIGKILL)
        try:
            while True:
                progress = next(job)
        except StopIteration as stop:
            done, failed = stop.value
        assert progress.done
        assert failed == ()
        assert done.objects is not None
    assert_equal(path, expected)


def test_images_are_encoded_on_workers(client: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    path = folder / "tissue.png"
    Image.fromarray(PIXELS[:64, :64]).save(path)
    (folder / "broken.png").write_bytes(b"no image")
    capsys.readouterr()
    files = [str(path), str(folder / "broken.png")]
    code = main(
        ["encode", *files, "--for", "heads", "--scheduler", client.scheduler.address, "--json", "--quiet"]
    )
    done = json.loads(capsys.readouterr().out)
    assert (code, done["images"], done["tiles"]) == (1, 1, 1)
    assert "broken.png" in next(iter(done["failed"].values()))


def test_a_folder_of_images_and_slides_on_workers(
    client: Any, slide: Path, expected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    folder, output = tmp_path / "slides", tmp_path / "results"
    folder.mkdir()
    shutil.copy(slide, folder)
    Image.fromarray(PIXELS[:64, :96]).save(folder / "biopsy.png")
    Image.fromarray(PIXELS[:64, :80]).save(folder / "tissue.png")
    (folder / "broken.png").write_bytes(b"no image")
    capsys.readouterr()
    assert main(words(folder, output, "--scheduler", client.scheduler.address)) == 1
    done = json.loads(capsys.readouterr().out)
    assert (sorted(done["images"]), list(done["failed"])) == (
        ["biopsy.png", "biopsy.svs", "tissue.png"],
        ["broken.png"],
    )
    # Workers have one thread and this process has several, so a confidence may be rounded differently.
    result, other = SlideResult.load(output / "biopsy.svs.ome.zarr"), SlideResult.load(expected)
    assert result.is_complete
    np.testing.assert_array_equal(result.classes((0, 0, *HW)), other.classes((0, 0, *HW)))
    assert tifffile.imread(output / "tissue.tif").shape == (64, 80)
    assert tifffile.imread(output / "biopsy.png.tif").shape == (64, 96)


def test_what_fails_on_one_worker_is_tried_on_another(client: Any) -> None:
    workers = sorted(client.nthreads())
    bad = workers[0]

    def compute(name: str) -> None:
        if name == "0_1":
            raise ValueError("broken block")
        if distributed.get_worker().address == bad:
            raise ImageError("This machine does not see the slide.")

    with client.as_current():
        failed = run(
            tasks.mapped(
                client, workers, compute, dict.fromkeys(["0_0", "0_1", "1_0"], 1), "Segmenting", "tiles", str
            )
        )
    assert failed == {"0_1": "0_1 failed: ValueError: broken block; run the same command again."}


def test_a_worker_that_joins_later_is_checked(client: Any) -> None:
    """One that cannot take part would otherwise fail block after block, because it is always idle."""
    checked, late = sorted(client.nthreads())
    client.run(exec, "import napari_sampath; napari_sampath.__version__ = '0.0'", workers=[late])
    try:
        with client.as_current():
            job = tasks.mapped(
                client, [checked], str, {f"{row}_0": 1 for row in range(20)}, "Segmenting", "tiles", str
            )
            assert run(job) == {}
            both = [checked, late]
            client.run(exec, "import napari_sampath; napari_sampath.__version__ = '0.0'", workers=[checked])
            failed = run(tasks.mapped(client, both, str, {"0_0": 1}, "Segmenting", "tiles", str))
            assert "a worker has version 0.0 of napari-sampath" in failed["0_0"]
    finally:
        client.run(exec, f"import napari_sampath; napari_sampath.__version__ = {__version__!r}")


def test_results_that_are_lost_are_not_waited_for_one_by_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{row}_0" for row in range(12)]
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address=":0")
    with cluster, connection.connected(cluster.scheduler_address) as client:
        (address,) = client.nthreads()
        job = tasks.mapped(client, [address], str, dict.fromkeys(names, 1), "Segmenting", "tiles", str)
        next(job)
        next(job)
        for _ in range(200):  # All have ended on the worker, and no result has been fetched.
            if not client.processing()[address]:
                break
            time.sleep(0.05)
        os.kill(client.run(os.getpid)[address], signal.SIGKILL)
        monkeypatch.setattr(tasks, "_RESULT_S", 10)
        started = time.monotonic()
        assert run(job) == {}
        assert time.monotonic() - started < 40
    gc.collect()  # asyncio reports exceptions that nobody has asked for when their tasks are deleted.
    assert "AllExit" not in caplog.text


def test_workers_that_cannot_take_part_say_why(client: Any, slide: Path, tmp_path: Path) -> None:
    class Plan:
        result = SlideResult.open(tmp_path / "a.ome.zarr", HW, None, 1.0, (), {})[0]
        wanted = result.blocks
        label, notes = "", ()

        def mark_blank(self) -> None:
            """All blocks have tissue."""

        def tiles(self, block: object) -> int:
            return 1

    spec = SlideSpec("/nowhere/biopsy.svs", "gland-cnn", ModelSpec("sampath-tiny"), str(Plan.result.path), "")
    address = client.scheduler.address
    with pytest.raises(SampathError, match=r"does not see '/nowhere/biopsy\.svs'"):
        run(cluster_slide_job(Plan(), spec, address))  # type: ignore[arg-type]
    with pytest.raises(SampathError, match=r"mask\.npz"):
        run(cluster_slide_job(Plan(), replace(spec, slide=str(slide), tissue="mask.npz"), address))  # type: ignore[arg-type]
    client.run(exec, "import napari_sampath; napari_sampath.__version__ = '0.0'")
    with pytest.raises(ConfigError, match=r"has version 0\.0 of napari-sampath"):
        run(cluster_slide_job(Plan(), spec, address))  # type: ignore[arg-type]
    client.run(exec, f"import napari_sampath; napari_sampath.__version__ = {__version__!r}")


def test_a_busy_worker_answers_while_it_is_checked(client: Any, tmp_path: Path) -> None:
    def hold(path: str) -> bool:
        """Compute until a file exists; False if it does not appear."""
        with worker._one:
            for _ in range(400):
                if Path(path).exists():
                    return True
                time.sleep(0.05)
        return False

    def is_held() -> bool:
        if worker._one.acquire(blocking=False):
            worker._one.release()
            return False
        return True

    address, go_on = next(iter(client.run(os.getpid))), tmp_path / "go on"
    held = client.submit(hold, str(go_on), workers=[address], pure=False)
    while not client.run(is_held, workers=[address])[address]:
        pass
    checked: list[Any] = []
    thread = threading.Thread(
        target=lambda: checked.append(connection.ask(client, address, worker.check, str)), daemon=True
    )
    thread.start()
    for _ in range(20):  # The check has surely arrived after one of these.
        client.run(os.getpid, workers=[address])
    go_on.touch()
    assert held.result(timeout=60)
    thread.join(60)
    assert [message for _, message in checked[0].values()] == ["", ""]


def test_a_worker_that_hangs_is_not_waited_for(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process keeps its connections open, and answers nothing."""
    monkeypatch.setattr(connection, "SILENT_S", 2.0)
    address, pid = next(iter(client.run(os.getpid).items()))
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(SampathError, match=rf"The worker {address} has not answered for 2 s; end it"):
            connection.check_workers(client, client.scheduler.address, str)
        assert time.monotonic() - started < 30
    finally:
        os.kill(pid, signal.SIGCONT)
    assert len(connection.check_workers(client, client.scheduler.address, str)) == len(client.nthreads())


def test_a_result_at_the_same_path_is_planned_again(slide: Path, tmp_path: Path) -> None:
    from napari_sampath.heads import load_head
    from napari_sampath.images.slides import open_slide
    from napari_sampath.images.slides.tissue import Tissue, save_tissue
    from napari_sampath.predict.whole_slide import SlidePlan

    tissue, bundle, path = (
        Tissue(np.ones((1, 1), bool), max(HW)),
        tmp_path / "a.safetensors",
        tmp_path / "a.ome.zarr",
    )
    for name in ("gland-cnn", "nucleus-cnn"):
        shutil.copy(load_head(name).source, bundle)
        shutil.rmtree(path, ignore_errors=True)
        head = load_head(bundle)
        model = ModelSpec(head.encoder_name, None, "cpu", "float32")
        with open_slide(slide) as opened:
            SlidePlan.make(opened, head, worker.model_of(model), path, tissue)
        save_tissue(path / "tissue.npz", tissue)
        spec = SlideSpec(str(slide), str(bundle), model, str(path), str(path / "tissue.npz"))
        plan = worker.plan_of(spec)
        assert plan.head.classes == head.classes
        assert worker.plan_of(spec) is plan
    # The slide was copied again: the open file counts as changed.
    copy = tmp_path / "biopsy.svs"
    shutil.copy(slide, copy)
    spec = replace(spec, slide=str(copy))
    plan = worker.plan_of(spec)
    os.utime(copy, ns=(1, 1))
    assert not plan.slide.slide.is_unchanged
    again = worker.plan_of(spec)
    assert again is not plan
    assert again.slide.slide.is_unchanged
    worker.close_plan()


def test_neighbouring_blocks_go_to_the_same_worker(client: Any) -> None:
    places: dict[str, int] = {}

    def place(name: str, following: str | None) -> tuple[str, int, str | None]:
        return name, os.getpid(), following

    def keep(answer: tuple[str, int, str | None]) -> None:
        name, places[name], following = answer
        assert following == {"a": "b", "b": "c", "d": "e", "e": "f"}.get(name)

    workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
    work = {"a": 1, "b": 3, "c": 2, "d": 1, "e": 4, "f": 1}
    job = tasks.mapped(client, workers, place, work, "Segmenting", "tiles", str, keep, with_next=True)
    with client.as_current():
        assert run(job) == {}
    assert len({places[name] for name in "abc"}) == len({places[name] for name in "def"}) == 1
    assert len(set(places.values())) == len(workers) == 2


def test_a_block_that_loses_its_workers_is_named_and_the_run_goes_on(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(name: str) -> None:
        if name == "0_1":
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(client.cluster.scheduler, "allowed_failures", 1)
    workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
    work = {"0_0": 1, "0_1": 1, "1_0": 1}
    with client.as_current():
        failed = run(tasks.mapped(client, workers, compute, work, "Segmenting", "tiles", running._block_name))
    assert "0_0" not in failed
    assert failed["0_1"].startswith(
        "The block in row 0, column 1 was given up, because its workers were lost"
    )


def test_a_run_goes_on_after_its_only_worker_was_replaced(tmp_path: Path) -> None:
    def compute(name: str) -> None:
        if name == "0_1" and not (tmp_path / "lost").exists():
            (tmp_path / "lost").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (tmp_path / name).touch()

    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
    with cluster, distributed.Client(cluster) as client, client.as_current():
        workers = sorted(client.nthreads())
        work = {"0_0": 1, "0_1": 1, "1_0": 1}
        failed = run(tasks.mapped(client, workers, compute, work, "Segmenting", "tiles", running._block_name))
        assert sorted(client.nthreads()) != workers
    assert failed == {}
    assert {path.name for path in tmp_path.iterdir()} == {*work, "lost"}


@pytest.mark.parametrize("order", ["0123", "1032", "0213"])
def test_the_next_block_begins_while_one_is_written(
    order: str, slide: Path, expected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any order, with a block that was announced as the next one or not."""
    from napari_sampath.heads import load_head
    from napari_sampath.images.slides import open_slide
    from napari_sampath.images.slides.tissue import Tissue, save_tissue
    from napari_sampath.predict.whole_slide import SlidePlan

    head, path = load_head("gland-cnn"), tmp_path / "a.ome.zarr"
    model = ModelSpec(head.encoder_name, None, "cpu", "float32")
    with open_slide(slide) as opened:
        plan = SlidePlan.make(
            opened, head, worker.model_of(model), path, Tissue(np.ones((1, 1), bool), max(HW))
        )
    save_tissue(path / "tissue.npz", plan.tissue)
    spec = SlideSpec(str(slide), "gland-cnn", model, str(path), str(path / "tissue.npz"))
    names = [block.name for block in plan.result.blocks]
    for number in map(int, order):
        worker.compute_block(spec, names[number], names[number + 1] if number < 3 else None)
    worker.close_plan()
    one, other = (SlideResult(result, HW) for result in (path, expected))
    assert all(map(one.is_done, one.blocks))
    np.testing.assert_array_equal(one.classes((0, 0, *HW)), other.classes((0, 0, *HW)))


def test_a_scheduler_that_is_lost_in_a_run() -> None:
    cluster = distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0")
    client = distributed.Client(cluster.scheduler_address, timeout=0.5, set_as_default=False)
    with client, client.as_current():
        job = tasks.mapped(client, ["tcp://127.0.0.1:1"], str, {"a": 1}, "Segmenting", "tiles", str)
        next(job)
        cluster.close()
        with pytest.raises(SampathError, match="Segmenting ended early, because the connection"):
            run(job)


@pytest.mark.parametrize("flags", [["--compile"], ["--runs-on", "https://example.org:8765"]])
def test_flags_that_workers_do_not_use_are_refused(
    flags: list[str], slide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(slide, tmp_path / "result.ome.zarr", "--scheduler", "tcp://127.0.0.1:1", *flags)
    assert main(command) == 1
    assert f"do not use {flags[0]}" in capsys.readouterr().err


def test_settings_for_tls_are_missing(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 0.5)
    assert main(words(slide, tmp_path / "result.ome.zarr", "--scheduler", "tls://127.0.0.1:1")) == 1
    assert "check those for TLS" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "nonsense://x", "127.0.0.1"])
def test_an_address_that_does_not_answer(
    address: str,
    slide: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = address.format(port=taken.getsockname()[1])
        assert main(words(slide, tmp_path / "result.ome.zarr", "--scheduler", address)) == 1
    assert f"No dask scheduler answers at '{address}'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 0.5)
    cluster = distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0")
    with (
        cluster,
        pytest.raises(ConfigError, match="has no workers; start at least one"),
        connection.connected(cluster.scheduler_address),
    ):
        pass
