"""Whole-slide runs: equal to a run in one piece, resumable, shared by processes, and never mixed."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import ConfigError, ImageError, SampathError, StorageError
from napari_sampath.formats.maps import slide_result
from napari_sampath.formats.maps.slide_result import SlideResult
from napari_sampath.heads import EncoderRef, LoadedHead, Metadata, create
from napari_sampath.images.slides import ArraySlide, open_slide
from napari_sampath.images.slides import tissue as tissue_module
from napari_sampath.images.slides.scaled import ScaledSlide
from napari_sampath.images.slides.tissue import Tissue, find_tissue
from napari_sampath.jobs import Progress, run
from napari_sampath.predict import segment
from napari_sampath.predict.head_tiles import head_tiles
from napari_sampath.predict.instances.settings import InstanceSettings
from napari_sampath.predict.whole_slide import SlidePlan, plan_job, slide_run_job
from napari_sampath.store import DiskTier, MemoryTier, Store
from support import small_disk
from support.models.patches import PatchEncoder, disc_image, patch_model
from support.slide_files import use_small_blocks

CLASSES = (ClassInfo(0, "background", (0, 0, 0)), ClassInfo(4, "gland", (255, 0, 0)))
HW = (1100, 1600)
BLOCK_PX = 800


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk that has room for the result: thousands of chunks of 4 KiB."""
    yield from small_disk.mounted(tmp_path, 2**23)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four blocks on a small slide."""
    use_small_blocks(monkeypatch, BLOCK_PX)


@pytest.fixture(scope="module")
def slide() -> ArraySlide:
    pixels, _ = disc_image(3, HW)
    return ArraySlide([np.ascontiguousarray(pixels)], "slide")


@pytest.fixture(scope="module")
def model():
    return patch_model()


def make_head(seed: int = 0) -> LoadedHead:
    torch.manual_seed(seed)
    encoder = PatchEncoder()
    head = create("cnn", encoder.spec, CLASSES, top_channel=8).eval()
    return LoadedHead(head, Metadata("random", (EncoderRef("patches", encoder.weights_digest, 1),)), "memory")


def everywhere(slide: ArraySlide) -> Tissue:
    return Tissue(np.ones((11, 16), bool), 100.0)


def left_part(slide: ArraySlide) -> Tissue:
    """Tissue in the first 500 columns and rows."""
    mask = np.zeros((11, 16), bool)
    mask[:5, :5] = True
    return Tissue(mask, 100.0)


def read_all(path: Path) -> tuple[np.ndarray, np.ndarray]:
    result = SlideResult(path, HW)
    return result.classes((0, 0, *HW)), result.confidence((0, 0, *HW))


def test_blocks_equal_a_run_in_one_piece(slide, tmp_path: Path) -> None:
    head, path, model = make_head(), tmp_path / "result.ome.zarr", patch_model(store=False)
    done = run(slide_run_job(slide, head, model, path, everywhere(slide)))
    assert (done.path, done.blocks, done.computed, done.skipped) == (path, 4, 4, 0)
    assert model.encoder.passes == len(head_tiles(HW, 1024)), "tiles at borders of blocks are encoded once"
    whole = segment(slide[:], head, model)
    labels, confidence = read_all(path)
    np.testing.assert_array_equal(labels, whole.labels)
    np.testing.assert_array_equal(confidence, np.rint(whole.confidence * 255))
    assert len(np.unique(labels)) == 2
    result = SlideResult(path, HW)
    assert result.is_complete
    for level in range(1, 5):
        side = 2**level
        shape = tuple(-(-length // side) for length in HW)
        np.testing.assert_array_equal(result.classes((0, 0, *shape), level), labels[::side, ::side])


def test_a_run_can_be_stopped_after_every_step_and_continued(slide, model, tmp_path: Path) -> None:
    head, tissue = make_head(), everywhere(slide)
    expected = tmp_path / "expected.ome.zarr"
    run(slide_run_job(slide, head, model, expected, tissue))
    path = tmp_path / "result.ome.zarr"
    computed = 0
    for steps in itertools.count(1):
        job = slide_run_job(slide, head, model, path, tissue)
        try:
            for _ in range(4 * steps):
                next(job)
        except StopIteration as stop:
            done = stop.value
            break
        job.close()
    computed += done.computed
    assert steps > 2
    assert done.skipped > 0  # earlier attempts completed blocks
    for stopped, whole in zip(read_all(path), read_all(expected), strict=True):
        np.testing.assert_array_equal(stopped, whole)
    again = run(slide_run_job(slide, head, model, path, tissue))
    assert again.computed == 0


def test_parts_together_equal_one_run(slide, model, tmp_path: Path) -> None:
    count = 3
    head, path = make_head(), tmp_path / "result.ome.zarr"
    for number in reversed(range(1, count + 1)):
        run(slide_run_job(slide, head, model, path, everywhere(slide), part=(number, count)))
        assert SlideResult(path, HW).is_complete == (number == 1)
    labels, _ = read_all(path)
    np.testing.assert_array_equal(labels, segment(slide[:], head, model).labels)


def test_parts_of_different_counts_complete_one_result(slide, tmp_path: Path) -> None:
    head, path, model = make_head(), tmp_path / "result.ome.zarr", patch_model()
    for part in ((1, 2), (2, 3), (3, 3)):
        run(slide_run_job(slide, head, model, path, everywhere(slide), part=part))
    assert SlideResult(path, HW).is_complete
    labels, _ = read_all(path)
    np.testing.assert_array_equal(labels, segment(slide[:], head, model).labels)


def test_a_full_disk_ends_a_run_after_the_last_whole_block(slide, model, small: Path) -> None:
    head, path, tissue = make_head(), small / "result.ome.zarr", everywhere(slide)
    on_first = SlidePlan.make(slide, head, model, path, tissue)
    blocks = iter(on_first.result.blocks)
    full: list[Path] = []
    with pytest.raises(StorageError, match=r"cannot be written .*free some space"):
        run(plan_job(on_first, on_block=lambda _: full.append(small_disk.fill(small)) if not full else None))
    assert on_first.result.is_done(next(blocks))
    assert not on_first.result.is_complete
    full[0].unlink()
    assert run(slide_run_job(slide, head, model, path, tissue)).skipped > 0
    np.testing.assert_array_equal(read_all(path)[0], segment(slide[:], head, model).labels)


def test_features_of_a_slide_are_kept_on_disk_only(slide, tmp_path: Path) -> None:
    model, tissue = patch_model(), left_part(slide)
    model.store = Store(MemoryTier(2**28), DiskTier(tmp_path / "features", 2**30))
    for number, name in enumerate(("first", "second")):
        run(slide_run_job(slide, make_head(number), model, tmp_path / f"{name}.ome.zarr", tissue))
        if number == 0:
            passes = model.encoder.passes
    assert passes > 0
    assert model.encoder.passes == passes, "another head uses the features of the first run"
    info = model.store.info()
    assert info.disk is not None
    assert (info.memory.entries, info.disk.entries) == (0, passes)


def test_only_tiles_with_tissue_are_computed(slide, model, tmp_path: Path) -> None:
    head, tissue = make_head(), left_part(slide)
    steps: list[Progress] = []
    run(slide_run_job(slide, head, model, tmp_path / "result.ome.zarr", tissue), steps.append)
    touched = [frame for frame in head_tiles(HW, 1024) if frame.top < 500 and frame.left < 500]
    assert {step.total for step in steps} == {len(touched)}, "the bar counts tiles with tissue"
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    labels, confidence = read_all(tmp_path / "result.ome.zarr")
    whole = segment(slide[:], head, model)
    np.testing.assert_array_equal(labels[:500, :500], whole.labels[:500, :500])
    assert not labels[:, 1024:].any()
    assert not labels[1024:].any()
    assert labels.any()
    assert SlideResult(tmp_path / "result.ome.zarr", HW).is_complete
    assert confidence[0, 0] > 0
    assert confidence[-1, -1] == 0


@pytest.mark.parametrize("what", ["head", "tissue", "scale"])
def test_a_result_is_never_mixed_with_that_of_another_run(slide, model, tmp_path: Path, what: str) -> None:
    path = tmp_path / "result.ome.zarr"
    run(slide_run_job(slide, make_head(), model, path, left_part(slide)))
    before = read_all(path)
    head = make_head(1 if what == "head" else 0)
    tissue = everywhere(slide) if what == "tissue" else left_part(slide)
    slide.mpp = 0.5 if what == "scale" else None
    done = run(slide_run_job(slide, head, model, path, tissue, mpp=1.0 if what == "scale" else None))
    slide.mpp = None
    assert done.path == tmp_path / "result (2).ome.zarr"
    assert any("another slide, head, scale or tissue" in note for note in done.notes)
    for kept, first in zip(read_all(path), before, strict=True):
        np.testing.assert_array_equal(kept, first)


def test_heads_run_at_the_scale_they_were_trained_at(slide, model, tmp_path: Path) -> None:
    slide.mpp = 0.25
    head = make_head()
    done = run(slide_run_job(slide, head, model, tmp_path / "result.ome.zarr", everywhere(slide), mpp=0.5))
    slide.mpp = None
    hw = HW[0] // 2, HW[1] // 2
    result = SlideResult(done.path, hw)
    half = slide.read((0, 0, *HW), 2)
    np.testing.assert_array_equal(result.classes((0, 0, *hw)), segment(half, head, model).labels)
    assert done.notes == ()


def test_unknown_scale_is_said_and_a_wild_one_refused(slide, model, tmp_path: Path) -> None:
    done = run(slide_run_job(slide, make_head(), model, tmp_path / "a.ome.zarr", left_part(slide)))
    assert "scale of 'slide' is unknown" in done.notes[0]
    slide.mpp = 0.25
    with pytest.raises(ConfigError, match="ratio must be from"):
        run(slide_run_job(slide, make_head(), model, tmp_path / "b.ome.zarr", everywhere(slide), mpp=100.0))
    slide.mpp = None
    with pytest.raises(ConfigError, match="9/8"):
        run(slide_run_job(slide, make_head(), model, tmp_path / "c.ome.zarr", everywhere(slide), part=(9, 8)))


def test_other_folders_are_not_overwritten(slide, model, tmp_path: Path) -> None:
    path = tmp_path / "mine.ome.zarr"
    path.mkdir()
    (path / "notes.txt").write_text("keep me")
    with pytest.raises(StorageError, match="give another name"):
        run(slide_run_job(slide, make_head(), model, path, everywhere(slide)))
    assert [file.name for file in path.iterdir()] == ["notes.txt"]


def test_a_link_that_leads_nowhere_is_refused(slide, model, tmp_path: Path) -> None:
    path = tmp_path / "mine.ome.zarr"
    path.symlink_to(tmp_path / "missing")
    with pytest.raises(StorageError, match=r"mine\.ome\.zarr' cannot be written"):
        run(slide_run_job(slide, make_head(), model, path, everywhere(slide)))
    assert [file.name for file in tmp_path.iterdir()] == ["mine.ome.zarr"]


def test_others_read_the_result(slide, model, tmp_path: Path) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    path = tmp_path / "result.ome.zarr"
    run(slide_run_job(slide, make_head(), model, path, left_part(slide)))
    location = parse_url(path / "classes")
    assert location is not None
    (node,) = [node for node in Reader(location)() if node.data]
    assert [level.shape for level in node.data] == [tuple(-(-length >> k) for length in HW) for k in range(5)]
    np.testing.assert_array_equal(np.asarray(node.data[0]), read_all(path)[0])


def test_tissue_is_found_by_colour_and_not_by_brightness() -> None:
    pixels = np.full((4000, 4000, 3), 240, np.uint8)
    pixels[1000:2000, 1000:2500] = (200, 120, 180)  # stained tissue
    pixels[3000:3900, 300:900] = (60, 60, 60)  # a pen mark without colour
    pixels[100:120, 3800:3820] = (200, 120, 180)  # dirt
    slide = ArraySlide([pixels], scale=0.5)
    tissue = find_tissue(slide)
    assert tissue.step == 16
    assert tissue.note is None
    assert tissue.touches((1000, 1000, 2000, 2500))
    assert tissue.touches((950, 950, 960, 960))  # the margin
    assert not tissue.touches((3000, 300, 3900, 900))
    assert not tissue.touches((0, 3700, 300, 4000))
    assert not tissue.touches((2300, 2900, 4000, 4000))


@pytest.mark.parametrize("colour", [(240, 240, 240), (200, 120, 180)])
def test_all_or_no_tissue_means_the_whole_slide(colour: tuple[int, int, int]) -> None:
    slide = ArraySlide([np.full((3000, 3000, 3), colour, np.uint8)], scale=0.5)
    tissue = find_tissue(slide)
    assert tissue.mask.all()
    assert tissue.note is not None
    assert "the whole slide is used" in tissue.note


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7, 2.0, 3.3])
def test_scaled_slides_cover_the_slide(slide, factor: float) -> None:
    scaled = ScaledSlide(slide, factor)
    height, width = scaled.shape[:2]
    assert (height - 1) * factor < HW[0] <= height * factor
    whole = scaled[0:height, 0:width]
    assert whole.shape == scaled.shape
    assert abs(float(whole.mean()) - float(slide[:].mean())) < 1
    window = scaled[height - 50 : height, 7:60]
    assert window.shape == (50, 53, 3)
    if factor in (0.5, 1.0, 2.0):
        np.testing.assert_array_equal(window, whole[height - 50 :, 7:60])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("appended", "was changed while it was read"),
        ("overwritten", "was changed while it was read"),
        ("truncated", "was (truncated|changed) while it was"),
    ],
)
def test_no_block_counts_as_complete_after_the_slide_was_changed(
    kind: str, words: str, slide, model, tmp_path: Path
) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, slide[:], tile=(64, 64), photometric="rgb", metadata=None)
    done: list[str] = []

    def change(block: slide_result.Block) -> None:
        done.append(block.name)
        if kind == "truncated":
            os.truncate(path, path.stat().st_size // 8)
        with open(path, "r+b") as file:
            file.seek(100_000, os.SEEK_SET if kind == "overwritten" else os.SEEK_END)
            file.write(b"something else")

    with open_slide(path) as opened:
        plan = SlidePlan.make(opened, make_head(), model, tmp_path / "a.ome.zarr", everywhere(slide))
        with pytest.raises(ImageError, match=words):
            run(plan_job(plan, on_block=change))
    assert [block.name for block in plan.result.blocks if plan.result.is_done(block)] == done[:1]


def test_a_slide_that_is_replaced_or_moved_stays_open(slide, model, tmp_path: Path) -> None:
    path, moved = tmp_path / "slide.tif", tmp_path / "moved.tif"
    tifffile.imwrite(path, slide[:], tile=(64, 64), photometric="rgb", metadata=None)

    def replace(_: slide_result.Block) -> None:
        if not moved.exists():
            path.rename(moved)
            path.write_bytes(b"another slide")

    with open_slide(path) as opened:
        plan = SlidePlan.make(opened, make_head(), model, tmp_path / "a.ome.zarr", everywhere(slide))
        run(plan_job(plan, on_block=replace))
    np.testing.assert_array_equal(read_all(plan.result.path)[0], segment(slide[:], make_head(), model).labels)


@pytest.mark.parametrize("mpp", [1e-6, 8.0, 20.0, 1e6])
def test_a_wrong_scale_needs_no_more_memory(mpp: float, monkeypatch: pytest.MonkeyPatch, slide) -> None:
    monkeypatch.setattr(tissue_module, "_MAX_PX", 10_000)
    monkeypatch.setattr(slide, "mpp", mpp)
    found = find_tissue(slide)
    assert 0 < found.mask.size < 11_000
    assert found.touches((0, 0, *HW))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no mask",
        {"mask": np.zeros(1, np.uint8)},
        {"mask": np.zeros(1, np.uint8), "shape": np.array([2, 3]), "step": 0.0},
        {"mask": np.zeros(1, np.uint8), "shape": np.array([2, 3]), "step": np.nan},
        {"mask": np.zeros(1, np.uint8), "shape": np.array([0, 3]), "step": 8.0},
        {"mask": np.zeros(1, np.uint8), "shape": np.array([10**6, 10**6]), "step": 8.0},
        {"mask": np.zeros(1, np.uint8), "shape": np.array([2, 3, 4]), "step": 8.0},
        {"mask": np.zeros(1, np.float64), "shape": np.array([2, 3]), "step": 8.0},
        np.zeros(3),
    ],
)
def test_a_damaged_tissue_mask_counts_as_missing(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.tissue.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with open(path, "wb") as file:
            np.savez(file, **content) if isinstance(content, dict) else np.save(file, content)
    assert tissue_module.load_tissue(path) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hw", [10, 20]),
        ("hw", [0, 20]),
        ("hw", 3),
        ("hw", [2**40, 2**40]),
        ("factor", 0),
        ("factor", None),
        ("mpp", "fine"),
        ("classes", [{"id": 300, "name": "a", "color": [0, 0, 0]}]),
        ("classes", None),
        ("fingerprint", []),
    ],
)
def test_a_damaged_record_is_refused(field: str, value: object, slide, model, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    SlidePlan.make(slide, make_head(), model, path, everywhere(slide))
    file = path / "zarr.json"
    record = json.loads(file.read_text())
    record["attributes"]["sampath"][field] = value
    file.write_text(json.dumps(record))
    with pytest.raises(SampathError, match=r"is not the result of a run|is not a map of 10 x 20 bytes"):
        SlideResult.load(path)


@pytest.mark.parametrize("content", [b"", b"damaged" * 10])
def test_a_damaged_chunk_is_said(content: bytes, slide, model, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    run(slide_run_job(slide, make_head(), model, path, everywhere(slide)))
    chunk = next(file for file in (path / "classes" / "0" / "c").rglob("*") if file.is_file())
    chunk.write_bytes(content)
    with pytest.raises(StorageError, match="is damaged or gone"):
        run(slide_run_job(slide, make_head(), model, path, everywhere(slide), objects=InstanceSettings()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_block_is_on_the_disk_before_it_counts_as_complete(
    slide, model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fsync = tmp_path / "a.ome.zarr", os.fsync
    synced: list[tuple[str, int]] = []

    def record(descriptor: int) -> None:
        marked = len(list((path / "blocks").iterdir()))
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), marked))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    run(slide_run_job(slide, make_head(), model, path, everywhere(slide)))
    chunks = {str(file) for file in path.rglob("c/*/*")}
    assert len(chunks) > 1000
    assert {name for name, _ in synced} >= chunks | {str(Path(name).parent) for name in chunks}
    assert {marked for name, marked in synced if name in chunks} == {0, 1, 2, 3}
    assert len(list((path / "blocks").iterdir())) == 4


def test_tiles_of_a_chosen_size(slide, model, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    run(slide_run_job(slide, make_head(), model, path, everywhere(slide), tile_px=512))
    expected = segment(slide[:], make_head(), model, tile_px=512).labels
    np.testing.assert_array_equal(read_all(path)[0], expected)
    with pytest.raises(ConfigError, match="128 to 4096"):
        run(slide_run_job(slide, make_head(), model, tmp_path / "b.ome.zarr", everywhere(slide), tile_px=9))
