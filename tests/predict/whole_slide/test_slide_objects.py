"""Objects of slides: those of the class map in one piece, whatever the blocks, their order and the processes."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import StorageError
from napari_sampath.formats.maps import slide_result
from napari_sampath.formats.maps.slide_objects import new_folder, objects_of
from napari_sampath.formats.maps.slide_result import SlideResult
from napari_sampath.jobs import run
from napari_sampath.predict.instances.settings import InstanceSettings
from napari_sampath.predict.instances.split_touching import HeadObject, split_class_map
from napari_sampath.predict.whole_slide import large_components, slide_objects_job
from support.slide_files import use_small_blocks

CLASSES = tuple(ClassInfo(number, f"class {number}", (200, 0, 40 * number)) for number in range(3))
SETTINGS = InstanceSettings(min_area_px=4)
BLOCK_PX = 64
HW = (150, 230)
BIG = (1000, 1000)
"""Beyond the end of every map; zarr returns what there is."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve blocks on a small slide."""
    use_small_blocks(monkeypatch, BLOCK_PX, levels=3, margin_px=16)


def blobs(seed: int) -> np.ndarray:
    """Class map of small and large blobs, many of which touch and cross the borders of blocks."""
    random = np.random.default_rng(seed)
    fine = ndimage.gaussian_filter(random.random(HW), 3)
    coarse = ndimage.gaussian_filter(random.random(HW), 14)
    labels = (fine > np.quantile(fine, 0.6)).astype(np.uint8)
    labels[coarse > np.quantile(coarse, 0.75)] = 2
    return labels


def ring() -> np.ndarray:
    """A ring around the block in the middle, which no block sees whole, and two neighbours of other classes."""
    labels = np.zeros(HW, np.uint8)
    labels[56:136, 40:150] = 1
    labels[66:126, 50:140] = 0
    labels[90:110, 90:110] = 2
    labels[90:110, 150:200] = 2
    return labels


def frame() -> np.ndarray:
    """A ring inside of the margin of the block that it surrounds, which no part of it enters."""
    labels = np.zeros(HW, np.uint8)
    labels[60:64, 60:132] = labels[128:132, 60:132] = 1
    labels[60:132, 60:64] = labels[60:132, 128:132] = 1
    return labels


def diagonal() -> np.ndarray:
    """Objects that touch only at the corner of blocks, and thin ones along borders."""
    labels = np.zeros(HW, np.uint8)
    labels[40:64, 40:64] = labels[64:90, 64:90] = 1
    labels[63:65, 100:230] = 2
    labels[0:150, 191:193] = 1
    return labels


MAPS = {
    "blobs 0": lambda: blobs(0),
    "blobs 1": lambda: blobs(1),
    "ring": ring,
    "frame": frame,
    "diagonal": diagonal,
    "full": lambda: np.ones(HW, np.uint8),
    "empty": lambda: np.zeros(HW, np.uint8),
}


def make_result(path: Path, labels: np.ndarray) -> tuple[SlideResult, np.ndarray]:
    """Write a class map as a complete result, and return it with the confidence (0 to 1) that is stored."""
    result, _ = SlideResult.open(path, labels.shape, 0.5, 1.0, CLASSES, {})
    confidence = np.random.default_rng(5).integers(100, 256, labels.shape) / np.float32(255)
    for block in result.blocks:
        r0, c0, r1, c1 = block.box
        result.write(block, labels[r0:r1, c0:c1], confidence[r0:r1, c0:c1])
    return result, confidence


def described(obj: HeadObject) -> tuple[object, ...]:
    rows, cols = obj.mask.slices
    first = obj.mask.row, obj.mask.col + int(obj.mask.bitmap[0].argmax())
    box = rows.start, cols.start, rows.stop, cols.stop
    return obj.class_id, obj.mask.area_px, box, first, round(obj.score, 4)


def stored(path: Path) -> tuple[list[tuple[object, ...]], np.ndarray]:
    """Return the objects of a result, and the map of their numbers."""
    objects = objects_of(path)
    assert objects is not None
    table = objects.table
    rows = [
        (int(class_id), int(area), tuple(box), tuple(first), round(float(score), 4))
        for class_id, area, box, first, score in zip(
            table.class_id,
            table.area_px,
            table.box.tolist(),
            table.first_rc.tolist(),
            table.score,
            strict=True,
        )
    ]
    return rows, objects.numbers((0, 0, *BIG))


def assert_equal_to_one_piece(path: Path, labels: np.ndarray, confidence: np.ndarray) -> None:
    expected = list(split_class_map(labels, confidence, SETTINGS))
    rows, numbers = stored(path)
    assert sorted(rows) == sorted(map(described, expected))
    by_first = {row[3]: number for number, row in enumerate(rows, start=1)}
    whole = np.zeros(labels.shape, np.uint32)
    for obj in expected:
        whole[obj.mask.slices][obj.mask.bitmap] = by_first[described(obj)[3]]  # type: ignore[index]
    np.testing.assert_array_equal(numbers, whole)


@pytest.mark.parametrize("name", MAPS)
def test_objects_equal_those_of_the_map_in_one_piece(name: str, tmp_path: Path) -> None:
    labels = MAPS[name]()
    result, confidence = make_result(tmp_path / "result.ome.zarr", labels)
    count = run(slide_objects_job(result, SETTINGS))
    assert_equal_to_one_piece(result.path, labels, confidence)
    objects = objects_of(result.path)
    assert objects is not None
    assert count == len(objects.table)
    numbers = objects.numbers((0, 0, *HW))
    for level in range(1, slide_result.LEVELS):
        side = 2**level
        shape = tuple(-(-length // side) for length in HW)
        np.testing.assert_array_equal(objects.numbers((0, 0, *shape), level), numbers[::side, ::side])


def test_huge_components_stay_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_components, "SPLIT_PX", 1000)
    labels = ring()
    result, _ = make_result(tmp_path / "result.ome.zarr", labels)
    run(slide_objects_job(result, SETTINGS))
    rows, numbers = stored(result.path)
    (ring_row,) = [row for row in rows if row[0] == 1]
    assert ring_row[1:4] == (80 * 110 - 60 * 90, (56, 40, 136, 150), (56, 40))
    np.testing.assert_array_equal(numbers == rows.index(ring_row) + 1, labels == 1)


def test_the_order_of_blocks_does_not_matter(tmp_path: Path) -> None:
    labels = blobs(2)
    results = [make_result(tmp_path / f"{number}.ome.zarr", labels)[0] for number in range(3)]
    for number, result in enumerate(results):
        order = np.random.default_rng(number).permutation(len(result.blocks))
        run(slide_objects_job(result, SETTINGS, [result.blocks[index] for index in order]))
    first, *others = (stored(result.path) for result in results)
    for rows, numbers in others:
        assert rows == first[0]
        np.testing.assert_array_equal(numbers, first[1])


def test_separating_can_be_stopped_at_every_step(tmp_path: Path) -> None:
    labels = blobs(0)[:100, :90]
    result, confidence = make_result(tmp_path / "result.ome.zarr", labels)
    for steps in itertools.count(1):
        job = slide_objects_job(result, SETTINGS)
        try:
            for _ in range(steps):
                next(job)
        except StopIteration:
            break
        job.close()
    assert steps > len(result.blocks)
    assert_equal_to_one_piece(result.path, labels, confidence)
    left = [path.name for path in result.path.rglob("*") if ".part" in path.name or ".old" in path.name]
    assert left == []


def test_other_settings_replace_the_objects(tmp_path: Path) -> None:
    labels = blobs(0)
    result, confidence = make_result(tmp_path / "result.ome.zarr", labels)
    run(slide_objects_job(result, InstanceSettings(min_area_px=300, neck=0)))
    few, _ = stored(result.path)
    run(slide_objects_job(result, SETTINGS))
    assert_equal_to_one_piece(result.path, labels, confidence)
    assert len(few) < len(stored(result.path)[0])


@pytest.mark.parametrize("count", [2, 4])
def test_several_share_the_work_and_one_may_be_stopped(count: int, tmp_path: Path) -> None:
    """They share nothing but the folder, like processes."""
    labels = blobs(3)
    result, confidence = make_result(tmp_path / "result.ome.zarr", labels)

    def separate(number: int) -> None:
        own = SlideResult(result.path, HW)
        job = slide_objects_job(own, SETTINGS, own.blocks[number::count])
        if number == 0:
            list(itertools.islice(job, 5))
            job.close()
        else:
            run(job)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(separate, range(count)))
    assert run(slide_objects_job(result, SETTINGS))
    assert_equal_to_one_piece(result.path, labels, confidence)


def test_a_result_is_created_once_by_several_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "result.ome.zarr"

    def create(_number: int) -> tuple[Path, str | None]:
        result, note = SlideResult.open(path, HW, 0.5, 1.0, CLASSES, {})
        return result.path, note

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(create, range(8))) == {(path, None)}
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_objects_wait_for_missing_blocks(tmp_path: Path) -> None:
    labels = blobs(1)
    complete, confidence = make_result(tmp_path / "complete.ome.zarr", labels)
    result, _ = SlideResult.open(tmp_path / "result.ome.zarr", HW, 0.5, 1.0, CLASSES, {})
    for number, block in enumerate(complete.blocks):
        assert run(slide_objects_job(result, SETTINGS)) is None
        assert objects_of(result.path) is None, number
        r0, c0, r1, c1 = block.box
        result.write(block, labels[r0:r1, c0:c1], confidence[r0:r1, c0:c1])
    assert run(slide_objects_job(result, SETTINGS))
    assert_equal_to_one_piece(result.path, labels, confidence)


class Trap:
    """An object that creates a file if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
def test_folders_in_use_are_kept_and_those_of_killed_processes_deleted(tmp_path: Path) -> None:
    path = tmp_path / "objects"
    with new_folder(path) as first:
        first.mkdir()
        for file in tmp_path.iterdir():  # As after a join of two hours, or on a machine with another time.
            os.utime(file, (0, 0))
        with new_folder(path) as second:
            assert first.exists()
            second.mkdir()
            (second / "table").touch()
    assert [file.name for file in path.iterdir()] == ["table"]
    assert list(tmp_path.iterdir()) == [path]
    child = os.fork()
    if child == 0:
        with new_folder(tmp_path / "objects") as killed:
            killed.mkdir()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 3
    with new_folder(path):
        assert len(list(tmp_path.glob(".*.part"))) == 0
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_numbers_are_said(tmp_path: Path) -> None:
    result, _ = make_result(tmp_path / "a.ome.zarr", blobs(0))
    run(slide_objects_job(result, SETTINGS))
    for chunk in (tmp_path / "a.ome.zarr" / "objects" / "numbers" / "0" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged" * 10)
    objects = objects_of(tmp_path / "a.ome.zarr")
    assert objects is not None
    with pytest.raises(StorageError, match=r"objects' cannot be read .*; delete it, and separate"):
        objects.numbers((0, 0, *HW))


def test_objects_of_others_cannot_run_a_program(tmp_path: Path) -> None:
    array = tmp_path / "objects" / "table" / "class_id"
    array.mkdir(parents=True)
    for folder in (array.parent, array.parent.parent):
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
    values = {"shape": [1], "chunks": [1], "dtype": "|u1", "fill_value": 0, "order": "C"}
    codecs = {"compressor": None, "filters": [{"id": "pickle", "protocol": 5}], "zarr_format": 2}
    (array / ".zarray").write_text(json.dumps(values | codecs))
    (array / "0").write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    with pytest.raises(StorageError, match="delete it, and separate the objects again"):
        objects_of(tmp_path)
    assert not (tmp_path / "ran").exists()
