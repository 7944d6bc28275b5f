"""Masks of every step, written into documents whose tiles are of every kind, against plain arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sampath.annotations import (
    Add,
    AnnotatedObject,
    Delete,
    Document,
    Erase,
    TiledMap,
    Verify,
    perform,
)
from napari_sampath.annotations.masks import shaping, steps
from napari_sampath.annotations.masks.masks import clip, innermost
from napari_sampath.annotations.masks.tile_store import TileStore
from napari_sampath.annotations.model.operations import operation_from_json, operation_to_json
from napari_sampath.arrays import ClassInfo, LocalMask

HW = (600, 700)
MARGIN = 2048
CLASSES = (ClassInfo(1, "gland", (0, 158, 115)),)


@st.composite
def masks(draw: st.DrawFn) -> LocalMask:
    """Masks of any step, full or with holes, that may reach beyond the image."""
    step = draw(st.sampled_from([1, 1, 2, 4, 16, 64, 256]))
    height, width = (draw(st.integers(1, max(2, side // step))) for side in HW)
    row, col = (draw(st.integers(-100, side - 1)) // step * step for side in HW)
    density = draw(st.sampled_from([0.5, 0.98, 1.0]))
    bitmap = np.random.default_rng(draw(st.integers(0, 99))).random((height, width)) < density
    return LocalMask(row, col, bitmap, step)


def dense(mask: LocalMask) -> np.ndarray:
    """Return the pixels of a mask in the image."""
    fine = mask.bitmap.repeat(mask.step, 0).repeat(mask.step, 1)
    wide = np.zeros((HW[0] + 2 * MARGIN, HW[1] + 2 * MARGIN), dtype=bool)
    wide[mask.row + MARGIN :, mask.col + MARGIN :][: fine.shape[0], : fine.shape[1]] = fine
    return wide[MARGIN : MARGIN + HW[0], MARGIN : MARGIN + HW[1]]


operations = st.tuples(st.sampled_from(["add", "erase", "verify", "delete"]), masks())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiles")


@settings(max_examples=20, deadline=None)
@given(
    st.lists(operations, min_size=1, max_size=6), st.sampled_from([100, 2**20]), st.sampled_from([0, 2**30])
)
def test_masks_of_every_step_are_written_undone_and_replayed(
    folder: Path, script: list, piece_px: int, memory_bytes: int
) -> None:
    document, replayed = Document(HW, CLASSES), Document(HW, CLASSES)
    document.instance_map.become(TiledMap(HW, np.int32, 2, TileStore(folder, memory_bytes)))
    objects, verified = np.zeros(HW, dtype=np.int32), np.zeros(HW, dtype=bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "PIECE_PX", piece_px)
        for kind, mask in script:
            before = objects.copy(), verified.copy(), dict(document.objects)
            pixels = dense(mask)
            if kind == "delete" and document.objects:
                operation = Delete((max(document.objects),))
                objects[objects == operation.ids[0]] = 0
            elif not pixels.any():
                continue
            elif kind == "verify":
                operation = Verify(mask)
                verified |= pixels
            elif kind == "erase" or kind == "delete":
                operation = Erase(mask)
                objects[pixels] = 0
            else:
                numbers, counts = np.unique(objects[pixels], return_counts=True)
                under = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
                assert document.counts_under(mask) == {key: n for key, n in under.items() if key}
                operation = Add(((AnnotatedObject(document.next_id, 1, "brush"), mask),))
                objects[pixels] = document.next_id
            change = perform(document, operation)
            check(document, objects, verified)
            document.revert(change)
            assert document.objects == before[2]
            check(document, *before[:2])
            document.reapply(change)
            check(document, objects, verified)
            stored = json.loads(json.dumps(operation_to_json(operation)))
            perform(replayed, operation_from_json(stored, HW))
    check(replayed, objects, verified)


def check(document: Document, objects: np.ndarray, verified: np.ndarray) -> None:
    np.testing.assert_array_equal(np.asarray(document.instance_map), objects)
    np.testing.assert_array_equal(np.asarray(document.verified_map), verified)
    assert set(document.objects) == set(np.unique(objects).tolist()) - {0}
    for number, record in document.objects.items():
        assert record.area_px == (objects == number).sum()
        parts = sum(part.to_dense(HW).astype(int) for part in document.parts(number))
        np.testing.assert_array_equal(parts, objects == number)


@settings(max_examples=30, deadline=None)
@given(masks(), masks())
def test_masks_of_different_steps_are_combined(first: LocalMask, second: LocalMask) -> None:
    np.testing.assert_array_equal(dense(shaping.joined([first, second])), dense(first) | dense(second))
    np.testing.assert_array_equal(dense(clip(first, HW)), dense(first))
    parts = shaping.components(first)
    assert sum(part.area_px for part in parts) == first.area_px
    if first.bitmap.any():
        x, y = innermost(first)
        at = int((y - first.row) // first.step), int((x - first.col) // first.step)
        assert first.bitmap[at]


@pytest.mark.parametrize("step", [0, 3, -2, 1.0, "2", True])
def test_a_stored_mask_of_another_step_is_refused(step: object) -> None:
    fields = operation_to_json(Erase(LocalMask(0, 0, np.ones((2, 2), dtype=bool))))
    fields["pixels"]["step"] = step
    with pytest.raises(ValueError, match="step"):
        operation_from_json(fields, HW)


def test_a_large_object_is_a_mask_of_little_memory() -> None:
    document = Document((60_000, 60_000), CLASSES)
    bitmap = np.ones((2500, 1500), dtype=bool)
    bitmap[:3] = bitmap[:, -40:] = False
    mask = LocalMask(640, 1280, bitmap, 16)
    change = perform(document, Add(((AnnotatedObject(1, 1, "brush"), mask),)))
    assert document.objects[1].area_px == mask.area_px
    assert change.nbytes < 2**20
    assert document.instance_map.nbytes < 64 * 2**20
    shown = document.pixels(1)
    assert shown.step == 8
    assert shown.bitmap.size <= 2**24
    assert shown.area_px == mask.area_px
    document.revert(change)
    assert not document.instance_map.any()
