from __future__ import annotations

import numpy as np

from napari_sampath.annotations import AnnotatedObject, Document, History, Patch
from napari_sampath.annotations.model.patch import Region, Values
from napari_sampath.annotations.storage.history import Step
from napari_sampath.arrays import ClassInfo, LocalMask

CLASSES = (ClassInfo(1, "gland", (0, 158, 115)),)


def step(number: int, run_count: int = 1) -> Step:
    lengths = np.ones(run_count, dtype=np.uint32)
    values = Values(np.zeros(run_count, dtype=np.int32), lengths)
    return Step(
        number, Patch((Region(False, (0, 0, 1, run_count), lengths, values, values),)), "the annotation"
    )


def test_undo_and_redo_in_order() -> None:
    history = History()
    assert history.last is None
    assert history.undo() is None
    assert history.redo() is None
    for number in (1, 2, 3):
        history.push(step(number))
    assert [one.number for one in (history.undo(), history.undo()) if one] == [3, 2]
    assert history.last is not None
    assert history.next is not None
    assert (history.last.number, history.next.number) == (1, 2)
    redone = history.redo()
    assert redone is not None
    assert redone.number == 2
    history.push(step(4))
    assert history.next is None
    assert [one.number for one in (history.undo(), history.undo(), history.undo()) if one] == [4, 2, 1]


def test_200_steps_are_kept() -> None:
    history = History()
    for number in range(1000):
        history.push(step(number))
    assert len(history) == 200
    undone = []
    while (last := history.undo()) is not None:
        undone.append(last.number)
    assert undone == list(range(999, 799, -1))


def test_memory_is_bounded_and_the_newest_step_is_kept_whatever_its_size() -> None:
    small, large = step(0, 100).patch.nbytes, step(0, 10_000).patch.nbytes
    history = History(max_steps=1000, max_bytes=10 * small)
    for number in range(50):
        history.push(step(number, 100))
        assert history.nbytes <= 10 * small
    assert len(history) == 10
    history.push(step(50, 10_000))
    assert len(history) == 1
    assert history.nbytes == large
    history.undo()
    assert history.nbytes == large, "what can be redone takes memory too"
    history.push(step(51, 100))
    assert history.nbytes == small


def test_a_patch_costs_what_the_outline_costs_and_not_the_area() -> None:
    document = Document((2048, 2048), CLASSES)
    rows, cols = np.mgrid[:1500, :1500]
    disc = LocalMask(100, 100, np.hypot(rows - 750, cols - 750) < 750)
    patch = document.apply(AnnotatedObject(1, 1, "point"), disc)
    assert patch.nbytes < 20_000
    assert document.objects[1].area_px == disc.area_px
    document.revert(patch)
    assert not document.class_map.any()
    assert not document.instance_map.any()
