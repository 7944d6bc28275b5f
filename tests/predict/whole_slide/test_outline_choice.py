"""Outlines of the decoder on slides: those that `choose_outlines` gives all objects of an image at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.errors import StorageError
from napari_sampath.formats.maps.slide_objects import SlideObjects, objects_of
from napari_sampath.formats.maps.slide_outlines import Outlines, OutlineStore
from napari_sampath.formats.maps.slide_result import SlideResult
from napari_sampath.jobs import run
from napari_sampath.predict.instances.resolve_outlines import Answer, Instance, choose_outlines, outer_box
from napari_sampath.predict.instances.settings import InstanceSettings
from napari_sampath.predict.instances.split_touching import split_class_map
from napari_sampath.predict.whole_slide import (
    large_components,
    outline_choice,
    slide_objects_job,
)
from napari_sampath.predict.whole_slide.chunks import Chunks
from support.slide_files import use_small_blocks

CLASSES = tuple(ClassInfo(number, f"class {number}", (200, 0, 40 * number)) for number in range(3))
SETTINGS = InstanceSettings(min_area_px=4, agreement=0.4)
BLOCK_PX = 64
HW = (120, 180)
"""Six blocks meet at two corners; runs that are stopped at every step take the square of the number of blocks."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six blocks on a small slide, of which few are in memory at the same time."""
    use_small_blocks(monkeypatch, BLOCK_PX, levels=3, margin_px=16)
    monkeypatch.setattr(outline_choice, "_OPEN", 2)


def labels_of(seed: int) -> np.ndarray:
    """Class map of blobs close to each other; some are larger than the window of a block."""
    random = np.random.default_rng(seed)
    fine = ndimage.gaussian_filter(random.random(HW), 2.5)
    coarse = ndimage.gaussian_filter(random.random(HW), 12)
    labels = (fine > np.quantile(fine, 0.55)).astype(np.uint8)
    labels[coarse > np.quantile(coarse, 0.7)] *= 2
    return labels


def answer(box: np.ndarray, reach: float) -> Answer:
    """Answer a box (x0, y0, x1, y1) with a shifted ellipse up to `reach` times as large, and one of seven scores."""
    random = np.random.default_rng(box.astype(np.int64))
    x0, y0, x1, y1 = box
    y, x = (y0 + y1) / 2 + random.uniform(-3, 3), (x0 + x1) / 2 + random.uniform(-3, 3)
    height, width = (
        (1 + (y1 - y0) / 2) * random.uniform(0.7, reach),
        (1 + (x1 - x0) / 2) * random.uniform(0.7, reach),
    )
    rows, cols = np.ogrid[: HW[0], : HW[1]]
    inside = ((rows + 0.5 - y) / height) ** 2 + ((cols + 0.5 - x) / width) ** 2 < 1
    return LocalMask.from_dense(inside), float(np.float32(random.integers(1, 8) / 10))


class Ellipses:
    """Outlines objects with ellipses, which depend on their boxes only, and overlap those of many others."""

    def __init__(self, result: SlideResult, reach: float = 1.8) -> None:
        self.name = f"ellipses-{reach}"
        self.store = OutlineStore.of_result(result.path, self.name)
        self.reach = reach
        self.outlined: list[str] = []

    def outline(self, name: str, boxes: np.ndarray, region: tuple[int, ...]) -> Iterator[int]:
        yield 0
        self.outlined.append(name)
        assert (boxes[:, :2] >= region[:2]).all()
        assert (boxes[:, 2:] <= region[2:]).all()
        self.store.write(name, Outlines.of(answer(box, self.reach) for box in boxes[:, [1, 0, 3, 2]]))


def make_result(path: Path, labels: np.ndarray) -> tuple[SlideResult, np.ndarray]:
    result, _ = SlideResult.open(path, labels.shape, 0.5, 1.0, CLASSES, {})
    confidence = np.random.default_rng(5).integers(100, 256, labels.shape) / np.float32(255)
    for block in result.blocks:
        r0, c0, r1, c1 = block.box
        result.write(block, labels[r0:r1, c0:c1], confidence[r0:r1, c0:c1])
    return result, confidence


def in_one_piece(
    labels: np.ndarray, confidence: np.ndarray, settings: InstanceSettings, reach: float = 1.8
) -> list[Instance]:
    objects = list(split_class_map(labels, confidence, settings))
    answers = [answer(np.array(outer_box(obj.mask)), reach) for obj in objects]
    return choose_outlines(objects, answers, settings)


def separate(
    result: SlideResult, settings: InstanceSettings, outliner: Any, order: Any = None
) -> SlideObjects:
    own = [] if order is None else [result.blocks[index] for index in order]
    assert run(slide_objects_job(result, settings, own, outliner)) is not None
    objects = objects_of(result.path)
    assert objects is not None
    return objects


def assert_equal(objects: SlideObjects, expected: list[Instance]) -> None:
    numbers, table, scores = objects.numbers((0, 0, *HW)), objects.table, objects.predicted_iou
    assert scores is not None
    assert len(table) == len(expected)
    seen = np.zeros(HW, np.uint32)
    for instance in expected:
        place = instance.mask.slices
        (number,) = np.unique(numbers[place][instance.mask.bitmap])
        seen[place][instance.mask.bitmap] = number
        row = number - 1
        rows, cols = place
        assert table.box[row].tolist() == [rows.start, cols.start, rows.stop, cols.stop]
        assert (table.class_id[row], table.area_px[row]) == (instance.class_id, instance.area_px)
        assert table.score[row] == pytest.approx(instance.score, abs=1e-4)
        assert table.first_rc[row].tolist() == [
            rows.start,
            cols.start + int(instance.mask.bitmap[0].argmax()),
        ]
        iou = None if np.isnan(scores[row]) else float(scores[row])
        assert iou == instance.predicted_iou
    np.testing.assert_array_equal(numbers, seen)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("reach", [1.3, 3.0])
def test_outlines_equal_those_of_an_image(seed: int, reach: float, tmp_path: Path) -> None:
    labels = labels_of(seed)
    result, confidence = make_result(tmp_path / "result.ome.zarr", labels)
    expected = in_one_piece(labels, confidence, SETTINGS, reach)
    used = sum(instance.predicted_iou is not None for instance in expected)
    assert 10 < used < len(expected), "some objects keep the outline of the head"
    objects = separate(result, SETTINGS, Ellipses(result, reach))
    assert_equal(objects, expected)
    numbers = objects.numbers((0, 0, *HW))
    np.testing.assert_array_equal(objects.numbers((0, 0, HW[0] // 2, HW[1] // 2), 1), numbers[::2, ::2])
    assert not list((result.path / "objects").glob("chosen*"))


def test_large_components_are_outlined_too(tmp_path: Path) -> None:
    labels = labels_of(0)
    result, _ = make_result(tmp_path / "result.ome.zarr", labels)
    outliner = Ellipses(result)
    separate(result, SETTINGS, outliner)
    blocks = {block.name for block in result.blocks}
    assert set(outliner.outlined) > blocks
    assert len(outliner.outlined) == len(set(outliner.outlined))


def test_components_that_are_not_split_keep_their_outline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_components, "SPLIT_PX", 1000)
    labels = np.zeros(HW, np.uint8)
    labels[40:100, 20:170] = 1
    labels[106:116, 50:60] = 1
    result, _ = make_result(tmp_path / "result.ome.zarr", labels)
    objects = separate(result, InstanceSettings(agreement=0), Ellipses(result))
    assert objects.table.area_px[1] == 60 * 150
    assert objects.predicted_iou is not None
    assert np.isnan(objects.predicted_iou).tolist() == [False, True]


def test_outlines_do_not_depend_on_the_order_of_blocks(tmp_path: Path) -> None:
    labels = labels_of(7)
    found = []
    for number in range(3):
        result, _ = make_result(tmp_path / f"{number}.ome.zarr", labels)
        order = np.random.default_rng(number).permutation(len(result.blocks))
        objects = separate(result, SETTINGS, Ellipses(result), order)
        found.append((objects.numbers((0, 0, *HW)), objects.table.box, objects.predicted_iou))
    for one in found[1:]:
        for values, others in zip(one, found[0], strict=True):
            np.testing.assert_array_equal(values, others)


def test_outlining_can_be_stopped_at_every_step(tmp_path: Path) -> None:
    labels = labels_of(3)
    result, confidence = make_result(tmp_path / "result.ome.zarr", labels)
    outlined: list[str] = []
    for steps in itertools.count(1):
        outliner: Any = Ellipses(result)
        job = slide_objects_job(result, SETTINGS, (), outliner)
        try:
            for _ in range(steps):
                next(job)
        except StopIteration:
            break
        finally:
            outlined += outliner.outlined
        job.close()
    assert len(outlined) == len(set(outlined)), "no block is outlined twice"
    objects = objects_of(result.path)
    assert objects is not None
    assert_equal(objects, in_one_piece(labels, confidence, SETTINGS))
    left = [path.name for path in result.path.rglob("*") if ".part" in path.name or ".old" in path.name]
    assert left == []


def test_results_with_and_without_outlines_are_not_mixed(tmp_path: Path) -> None:
    labels = labels_of(1)
    result, confidence = make_result(tmp_path / "result.ome.zarr", labels)
    outliner = Ellipses(result)
    assert_equal(separate(result, SETTINGS, outliner), in_one_piece(labels, confidence, SETTINGS))
    of_head = separate(result, SETTINGS, None)
    assert of_head.predicted_iou is None
    assert of_head.table.area_px.sum() == sum(
        obj.mask.area_px for obj in split_class_map(labels, confidence, SETTINGS)
    )
    # Another agreement needs no new outlines
    strict = InstanceSettings(min_area_px=4, agreement=0.8)
    again = Ellipses(result)
    assert_equal(separate(result, strict, again), in_one_piece(labels, confidence, strict))
    assert again.outlined == []


def test_damaged_outlines_are_refused(tmp_path: Path) -> None:
    store = OutlineStore(tmp_path)
    store.write("1_2", Outlines.of([(LocalMask(3, 4, np.eye(9, dtype=bool)), 0.5), None]))
    np.testing.assert_array_equal(store.read("1_2").mask(0).bitmap, np.eye(9, dtype=bool))
    assert store.read("1_2").mask(1).area_px == 0
    path = tmp_path / "1_2" / "outlines.npz"
    with np.load(path) as file:
        values = dict(file)
    np.savez(path, **values | {"bits": values["bits"][:-1]})
    with pytest.raises(StorageError, match="delete it and run the same command again"):
        store.read("1_2")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match="delete it and run the same command again"):
        store.read("1_2")


def test_chunks_are_written_when_they_leave_the_cache(tmp_path: Path) -> None:
    import zarr

    array: Any = zarr.create_array(tmp_path / "numbers", shape=(70, 50), chunks=(16, 16), dtype="uint32")
    array[:] = expected = np.arange(70 * 50, dtype=np.uint32).reshape(70, 50)
    chunks, random = Chunks(array, 3 * 16 * 16 * 4), np.random.default_rng(0)
    for number in range(300):
        (r0, r1), (c0, c1) = (np.sort(random.integers(0, side + 1, 2)) for side in (70, 50))
        box = int(r0), int(c0), int(r1), int(c1)
        np.testing.assert_array_equal(chunks.read(box), expected[r0:r1, c0:c1])
        values = np.full((r1 - r0, c1 - c0), number, np.uint32)
        chunks.write(box, values)
        expected[r0:r1, c0:c1] = number
        assert len(chunks._chunks) <= 3
    chunks.flush()
    np.testing.assert_array_equal(array[:], expected)
