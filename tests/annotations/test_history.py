from __future__ import annotations

import numpy as np

from napari_sampath.annotations import Add, AnnotatedObject, Document, History, Patch, PromptStep, perform
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


def number_of(entry: Step | PromptStep | None) -> int | None:
    return entry.number if isinstance(entry, Step) else None


def test_undo_and_redo_in_order() -> None:
    history = History()
    assert history.last is None
    assert history.undo() is None
    assert history.redo() is None
    for number in (1, 2, 3):
        history.push(step(number))
    assert [number_of(history.undo()), number_of(history.undo())] == [3, 2]
    assert (number_of(history.last), number_of(history.next)) == (1, 2)
    assert number_of(history.redo()) == 2
    history.push(step(4))
    assert history.next is None
    assert [number_of(history.undo()) for _ in range(4)] == [4, 2, 1, None]


def test_prompt_steps_share_the_stack() -> None:
    history = History(max_steps=2)
    for entry in (step(1), PromptStep("empty"), step(2), PromptStep("one point"), step(3)):
        history.push(entry)
    assert [number_of(entry) for entry in history.done] == [2, 3], "only document steps count"
    assert [prompt.state for prompt in history.prompt_steps] == ["empty", "one point"]
    undone = history.undo_prompt()
    assert undone is not None
    assert undone.state == "one point", "the newest prompt step, past the document step after it"
    assert number_of(history.undo()) == 3
    assert number_of(history.redo()) == 3
    assert history.redo() is undone
    history.forget_prompts()
    assert not list(history.prompt_steps)
    assert [number_of(history.undo()) for _ in range(3)] == [3, 2, None]
    history.push(PromptStep("empty"))
    assert history.next is None, "a new prompt step drops what could be redone"
    assert history.nbytes == 0


def test_history_keeps_200_steps() -> None:
    history = History()
    for number in range(1000):
        history.push(step(number))
    assert len(history) == 200
    assert [number_of(history.undo()) for _ in range(201)] == [*range(999, 799, -1), None]


def test_memory_is_bounded_and_the_newest_step_is_always_kept() -> None:
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


def test_patch_size_grows_with_the_outline_not_the_area() -> None:
    document = Document((2048, 2048), CLASSES)
    rows, cols = np.mgrid[:1500, :1500]
    disc = LocalMask(100, 100, np.hypot(rows - 750, cols - 750) < 750)
    patch = perform(document, Add(((AnnotatedObject(1, 1, "point"), disc),)))
    assert patch.nbytes < 20_000
    assert document.objects[1].area_px == disc.area_px
    document.revert(patch)
    assert not document.class_map.any()
    assert not document.instance_map.any()
