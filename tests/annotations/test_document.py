from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sampath.annotations import (
    Add,
    AnnotatedObject,
    Delete,
    Document,
    Edits,
    Erase,
    Operation,
    Patch,
    Reclassify,
    SetClasses,
    Verify,
    mask_of_pixels,
    perform,
    prepare,
)
from napari_sampath.annotations.masks.masks import clip
from napari_sampath.annotations.model import recorder
from napari_sampath.annotations.model.annotated_object import from_json, to_json
from napari_sampath.annotations.model.operations import operation_from_json, operation_to_json, signature
from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.errors import ClassListError, PromptError, SampathError, UnknownNameError
from napari_sampath.formats import run_lengths

HW = (24, 31)
CLASSES = (
    ClassInfo(1, "gland", (0, 158, 115)),
    ClassInfo(5, "fat", (240, 228, 66)),
    ClassInfo(9, "nerve", (1, 2, 3)),
)


def square(row: int, col: int, side: int) -> LocalMask:
    return LocalMask(row, col, np.ones((side, side), dtype=np.bool_))


def make(class_id: int = 1, new_id: int = 1) -> AnnotatedObject:
    return AnnotatedObject(new_id, class_id, "point", 0.9, "discs", {"points": [[1.0, 2.0]]})


def apply(document: Document, obj: AnnotatedObject, mask: LocalMask) -> Patch:
    return perform(document, Add(((obj, mask),)))


def erase(document: Document, mask: LocalMask) -> Patch:
    return perform(document, Erase(mask))


def delete(document: Document, object_id: int) -> Patch:
    return perform(document, Delete((object_id,)))


def reclassify(document: Document, object_id: int, class_id: int) -> Patch:
    return perform(document, Reclassify((object_id,), class_id))


@pytest.fixture
def document() -> Document:
    return Document(HW, CLASSES)


def test_class_and_instance_map_show_the_same_object(document: Document) -> None:
    patch = apply(document, make(5), square(2, 3, 4))
    assert patch.box == (2, 3, 6, 7)
    assert document.class_map.sum() == 5 * 16
    assert document.instance_map.sum() == 16
    assert (document.class_map[2:6, 3:7] == 5).all()
    assert document.objects[1].area_px == 16
    assert document.objects[1].box == (2, 3, 6, 7)
    assert document.pixels(1).bitmap.all()
    assert document.next_id == 2


def test_later_objects_overwrite_and_undo_restores(document: Document) -> None:
    apply(document, make(1, 1), square(0, 0, 10))
    before = document.class_map.copy(), document.instance_map.copy(), dict(document.objects)
    patch = apply(document, make(5, 2), square(5, 5, 10))
    assert document.objects[1].area_px == 75
    assert document.instance_map[5, 5] == 2
    document.revert(patch)
    assert (document.class_map == before[0]).all()
    assert (document.instance_map == before[1]).all()
    assert document.objects == before[2]
    document.reapply(patch)
    assert document.objects[1].area_px == 75
    assert document.objects[2].class_id == 5


def test_object_without_pixels_is_deleted(document: Document) -> None:
    apply(document, make(1, 1), square(3, 3, 4))
    patch = apply(document, make(5, 2), square(0, 0, 12))
    assert set(document.objects) == {2}
    document.revert(patch)
    assert set(document.objects) == {1}


def test_erase_delete_reclassify(document: Document) -> None:
    apply(document, make(1, 1), square(0, 0, 4))
    apply(document, make(1, 2), square(10, 10, 4))
    erase(document, square(0, 0, 2))
    assert document.objects[1].area_px == 12
    reclassify(document, 2, 9)
    assert (document.class_map[10:14, 10:14] == 9).all()
    assert document.objects[2].class_id == 9
    delete(document, 1)
    assert set(document.objects) == {2}
    assert np.count_nonzero(document.instance_map) == 16
    assert reclassify(document, 2, 9).empty
    assert erase(document, square(0, 0, 3)).empty


def test_stroke_extends_an_object(document: Document) -> None:
    apply(document, make(5, 1), square(0, 0, 4))
    apply(document, document.objects[1], square(2, 2, 4))
    record = document.objects[1]
    assert (record.area_px, record.box, record.class_id, record.source) == (28, (0, 0, 6, 6), 5, "point")
    assert document.next_id == 2


def test_modified_record_replaces_the_earlier_one(document: Document) -> None:
    apply(document, make(5, 1), square(0, 0, 4))
    before = document.objects[1]
    later = AnnotatedObject(1, 1, "box", 0.5, "other", {"box": [0, 0, 4, 4]}, "then", modified="now")
    patch = apply(document, later, square(0, 0, 4))
    assert document.objects[1] == replace(later, class_id=5, box=(0, 0, 4, 4), area_px=16)
    assert apply(document, document.objects[1], square(0, 0, 4)).empty
    document.revert(patch)
    assert document.objects[1] == before
    apply(document, replace(later, modified=None), square(2, 2, 4))
    assert document.objects[1] == replace(before, box=(0, 0, 6, 6), area_px=28), "extended only"


def test_record_without_modified_time_is_written_without_the_key() -> None:
    assert "modified" not in to_json(make())
    again = replace(make(), modified="now")
    assert from_json(to_json(again)) == again


def test_journals_keep_the_first_name_of_verify() -> None:
    """Journals of earlier versions call the operation "vouch"."""
    fields = operation_to_json(Verify(square(1, 2, 3)))
    assert fields["op"] == "vouch"
    assert isinstance(operation_from_json(fields, (100, 100)), Verify)


def test_masks_are_cropped_to_the_image(document: Document) -> None:
    apply(document, make(), square(-2, -3, 5))
    assert document.objects[1].box == (0, 0, 3, 2)
    assert document.objects[1].area_px == 6
    apply(document, make(1, 2), square(HW[0] - 1, HW[1] - 1, 8))
    assert document.objects[2].area_px == 1
    for mask in (square(HW[0], 0, 3), square(-3, 0, 3), LocalMask(1, 1, np.zeros((3, 3), dtype=np.bool_))):
        with pytest.raises(PromptError, match="no pixels in the image"):
            apply(document, make(1, 3), mask)


def test_refused_operations_change_nothing(document: Document) -> None:
    apply(document, make(1, 1), square(0, 0, 4))
    before = document.class_map.copy(), dict(document.objects), document.classes.snapshot
    bad = Add(
        ((make(1, 2), square(1, 1, 4)), (make(77, 3), square(8, 8, 2))),
        (*CLASSES, ClassInfo(33, "x", (0, 0, 0))),
    )
    with pytest.raises(UnknownNameError, match="no class with id 77"):
        perform(document, bad)
    for call in (lambda: delete(document, 5), lambda: reclassify(document, 5, 1), lambda: document.pixels(5)):
        with pytest.raises(UnknownNameError, match="no object 5; choose an existing object"):
            call()
    with pytest.raises(UnknownNameError, match="no class with id 2"):
        reclassify(document, 1, 2)
    with pytest.raises(ClassListError, match=r"'gland' is used by 1 object\(s\) and cannot be removed"):
        perform(document, SetClasses(CLASSES[1:]))
    assert (document.class_map == before[0]).all()
    assert document.objects == before[1]
    assert document.classes.snapshot == before[2]


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: /proc/self/statm")
def test_empty_maps_of_a_large_image_take_no_memory() -> None:
    before = resident_bytes()
    document = Document((20_000, 20_000), CLASSES)
    patch = apply(document, make(), square(19_000, 19_000, 100))
    document.revert(patch)
    assert resident_bytes() - before < 20 * 2**20
    assert patch.nbytes < 5_000


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)))
def test_runs_round_trip(bitmap: np.ndarray) -> None:
    lengths = run_lengths.encode(bitmap)
    assert (run_lengths.decode(lengths, bitmap.shape) == bitmap).all()
    # The definition: row by row, False first.
    expected, value = [], False
    flat = bitmap.ravel().tolist()
    while flat:
        count = next((k for k, pixel in enumerate(flat) if pixel != value), len(flat))
        expected.append(count)
        flat, value = flat[count:], not value
    assert lengths.tolist() == expected


@pytest.mark.parametrize("lengths", [[3], [1, 2, 2], [-1, 5], [[4]]])
def test_run_lengths_of_another_size_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        run_lengths.decode(lengths, (2, 2))


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.int64, st.integers(0, 30), elements=st.integers(0, 3)))
def test_value_runs_round_trip(values: np.ndarray) -> None:
    heads, lengths = run_lengths.values_to_runs(values)
    assert (np.repeat(heads, lengths) == values).all()
    assert (np.diff(heads) != 0).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 12), st.integers(-3, 12)), max_size=40))
def test_mask_of_pixels(pixels: list[tuple[int, int]]) -> None:
    rows, cols = [p[0] for p in pixels], [p[1] for p in pixels]
    expected = np.zeros((10, 8), dtype=bool)
    for row, col in pixels:
        if 0 <= row < 10 and 0 <= col < 8:
            expected[row, col] = True
    mask = mask_of_pixels(rows, cols, (10, 8))
    assert (mask.to_dense((10, 8)) == expected).all()


masks = st.builds(
    LocalMask,
    st.integers(-5, HW[0] + 2),
    st.integers(-5, HW[1] + 2),
    hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)),
)
moves = st.one_of(
    st.tuples(st.just("add"), masks, st.sampled_from([1, 5, 9])),
    st.tuples(st.just("add two"), masks, masks),
    st.tuples(st.just("extend"), masks, st.integers(0, 9)),
    st.tuples(st.just("erase"), masks),
    st.tuples(st.just("renew"), masks, st.sampled_from([None, 0.5]), st.integers(0, 9)),
    st.tuples(st.just("delete"), st.integers(0, 9)),
    st.tuples(st.just("reclassify"), st.integers(0, 9), st.sampled_from([1, 5, 9])),
    st.tuples(st.just("classes"), st.sampled_from([(0, 1, 2), (2, 1, 0), (0, 1), (1,)])),
)


@dataclass
class Plain:
    """A plain model of the same rules: whole maps, no records."""

    instances: np.ndarray = field(default_factory=lambda: np.zeros(HW, dtype=int))
    class_of: dict[int, int] = field(default_factory=dict)

    def give(self, instance_id: int, mask: LocalMask) -> None:
        clipped = clip(mask, HW)
        self.instances[clipped.to_dense(HW)] = instance_id

    @property
    def classes(self) -> np.ndarray:
        return np.vectorize(lambda i: self.class_of.get(i, 0), otypes=[int])(self.instances)


def operation_of(move: tuple, document: Document, plain: Plain) -> Operation:
    """Convert a drawn move to an operation and apply it to the plain model."""
    present = sorted(document.objects)
    pick = present[move[-1] % len(present)] if present and move[0] in ("delete", "extend", "renew") else 0
    match move:
        case ("add", mask, class_id):
            new_id = document.next_id
            plain.give(new_id, mask)
            plain.class_of[new_id] = class_id
            return Add(((make(class_id, new_id), mask),))
        case ("add two", first, second):
            new_id = document.next_id
            for offset, mask in enumerate((first, second)):
                plain.give(new_id + offset, mask)
                plain.class_of[new_id + offset] = 5
            return Add(((make(5, new_id), first), (make(5, new_id + 1), second)))
        case ("extend", mask, _):
            record = document.record(pick)
            plain.give(pick, mask)
            return Add(((record, mask),))
        case ("renew", mask, score, _):
            record = document.record(pick)
            plain.give(pick, mask)
            again = replace(
                record, class_id=9, source="mask", score=score, prompts={"mask": True}, modified="later"
            )
            return Add(((again, mask),))
        case ("erase", mask):
            plain.give(0, mask)
            return Erase(mask)
        case ("delete", _):
            plain.instances[plain.instances == pick] = 0
            return Delete((document.record(pick).id,))
        case ("reclassify", index, class_id):
            chosen = document.record(present[index % len(present)] if present else 0).id
            plain.class_of[chosen] = class_id
            return Reclassify((chosen,), class_id)
        case ("classes", order):
            return SetClasses(tuple(CLASSES[k] for k in order))
    raise AssertionError(move)


def state_of(document: Document) -> tuple:
    return (
        np.asarray(document.class_map).tobytes(),
        np.asarray(document.instance_map).tobytes(),
        dict(document.objects),
        document.classes.snapshot,
    )


def check(document: Document, plain: Plain) -> None:
    assert (document.instance_map == plain.instances).all()
    assert (document.class_map == plain.classes).all()
    ids, counts = np.unique(plain.instances[plain.instances > 0], return_counts=True)
    assert {key: one.area_px for key, one in document.objects.items()} == dict(
        zip(ids.tolist(), counts.tolist(), strict=True)
    )
    for one in document.objects.values():
        rows, cols = np.nonzero(plain.instances == one.id)
        assert one.box[0] <= rows.min() <= rows.max() < one.box[2]
        assert one.box[1] <= cols.min() <= cols.max() < one.box[3]
        assert one.class_id in document.classes


@settings(max_examples=150, deadline=None)
@given(st.lists(moves, max_size=14))
def test_any_sequence_matches_the_plain_model_and_can_be_undone(moves: list[tuple]) -> None:
    document, replayed, plain = Document(HW, CLASSES), Document(HW, CLASSES), Plain()
    beside = Edits(Document(HW, CLASSES))
    states, patches = [state_of(document)], []
    for move in moves:
        saved = plain.instances.copy(), dict(plain.class_of)
        try:
            operation = operation_of(move, document, plain)
            patch = perform(document, operation)
        except SampathError:
            plain.instances, plain.class_of = saved
            assert state_of(document) == states[-1]
            continue
        check(document, plain)
        assert patch.empty == (state_of(document) == states[-1])
        inside(patch, states[-1], document)
        if patch.empty:
            continue
        patches.append(patch)
        states.append(state_of(document))
        perform(replayed, operation_from_json(operation_to_json(operation), replayed.hw))
        assert state_of(replayed) == states[-1]
        # An operation prepared on a fork has the same result and does not change the document before `take`.
        prepared = prepare(beside.document.fork(), beside.number, operation)
        assert state_of(beside.document) == states[-2]
        record = {**operation_to_json(operation), **signature(prepared.after)}
        assert prepared.record == json.dumps(record, separators=(",", ":"))
        assert beside.take(prepared)
        assert state_of(beside.document) == states[-1]
    for patch, state in zip(reversed(patches), reversed(states[:-1]), strict=True):
        document.revert(patch)
        assert state_of(document) == state
    for patch, state in zip(patches, states[1:], strict=True):
        document.reapply(patch)
        assert state_of(document) == state
    for state in reversed(states[:-1]):
        assert beside.undo() is not None
        assert state_of(beside.document) == state
    for state in states[1:]:
        assert beside.redo() is not None
        assert state_of(beside.document) == state


def inside(patch: Patch, before: tuple, document: Document) -> None:
    """Check that the box of a patch contains every changed pixel."""
    old = (
        np.frombuffer(before[0], dtype=np.uint8).reshape(HW),
        np.frombuffer(before[1], dtype=np.int32).reshape(HW),
    )
    changed = (document.class_map != old[0]) | (document.instance_map != old[1])
    if changed.any():
        r0, c0, r1, c1 = patch.box or (0, 0, 0, 0)
        changed[r0:r1, c0:c1] = False
    assert not changed.any()


@pytest.mark.parametrize("hw", [(600, 700), (9000, 9100)], ids=["small map", "large map"])
@pytest.mark.parametrize("seed", range(3))
def test_many_objects_at_once_equal_one_after_the_other(
    hw: tuple[int, int], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects across tiles and the edges of the image, under and over others, some of them covered completely."""
    documents = [Document(hw, CLASSES) for _ in range(2)]
    patches: list[Patch] = []
    same_time = partial(replace, created="2026-01-01T00:00:00.000+00:00")
    for document in documents:
        random = np.random.default_rng(seed)
        document.reader = "Ada"
        for number in range(1, 20):
            row, col = random.integers(0, 560, 2).tolist()
            apply(document, same_time(make(5, number)), square(row, col, int(random.integers(1, 60))))
        items = []
        for number in range(30, 330):
            row, col = random.integers(-10, 600, 2).tolist()
            bits = random.random(random.integers(1, 50, 2)) < 0.5
            bits[0, 0] = bits[-1, -1] = True
            mask = LocalMask(row, col, bits)
            if not clip(mask, hw).bitmap.any():
                mask = square(5, 5, 3)
            items.append((same_time(make(1 + 4 * (number % 3), number)), mask))
        items[200] = items[200][0], LocalMask(256, 0, np.ones((9, 16), bool), 32)
        monkeypatch.setattr(recorder, "MANY", 10 if patches else 10**9)
        patches.append(perform(document, Add(tuple(items))))
    one_by_one, at_once = documents
    assert patches[0].regions
    assert patches[1].tiles

    def assert_equal() -> None:
        box = (0, 0, 600, 700)
        np.testing.assert_array_equal(one_by_one.instance_map.window(box), at_once.instance_map.window(box))
        np.testing.assert_array_equal(one_by_one.class_map.window(box), at_once.class_map.window(box))
        assert one_by_one.objects == at_once.objects
        assert one_by_one.next_id == at_once.next_id == 330

    assert len(at_once.objects) < 19 + 300, "some are covered completely"
    assert_equal()
    areas = {key: obj.area_px for key, obj in at_once.objects.items()}
    ids, counts = np.unique(at_once.instance_map.window((0, 0, *hw)), return_counts=True)
    assert areas == dict(zip(ids[1:].tolist(), counts[1:].tolist(), strict=True))
    for document, patch in zip(documents, patches, strict=True):
        document.revert(patch)
    assert_equal()
    assert len(at_once.objects) < 20
    for document, patch in zip(documents, patches, strict=True):
        document.reapply(patch)
    assert_equal()


def test_a_failure_among_many_objects_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MANY", 2)
    document = Document(HW, CLASSES)
    apply(document, make(), square(0, 0, 5))
    good = [(make(1, number), square(2, 2, 3)) for number in range(2, 6)]
    for bad, error in (
        ((make(1, 6), square(50, 50, 3)), PromptError),
        ((make(77, 6), square(2, 2, 3)), UnknownNameError),
    ):
        with pytest.raises(error):
            perform(document, Add((*good, bad)))
        assert list(document.objects) == [1]
        assert document.instance_map.sum() == 25
