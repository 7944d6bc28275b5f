"""Changes of large areas in a worker thread, compared with the same changes made at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.errors import PromptError
from napari_sampath.images.slides import ArraySlide
from napari_sampath.jobs import run
from napari_sampath.session import Session, large_changes
from napari_sampath.session.objects.verified_area import VerifiedArea
from support.models.disc_model import disc_model

HW = (12_001, 9_000)
CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))
DISC = np.hypot(*(np.mgrid[:301, :301] - 150)) < 150


def open_session(journal: Path | None = None, model: Any = None) -> Session:
    levels = [(-(-HW[0] // factor), -(-HW[1] // factor), 3) for factor in (1, 4, 16)]
    pixels = [np.broadcast_to(np.array((200, 150, 180), np.uint8), shape) for shape in levels]
    return Session(ArraySlide(pixels, "slide", 0.25), "slide", model, CLASSES, journal)


def compute(session: Session) -> None:
    """Compute and apply what waits, as the worker does."""
    while (job := session.large_changes.job()) is not None:
        session.large_changes.accept(run(job))


def disc(row: int, col: int, step: int) -> LocalMask:
    return LocalMask(row // step * step, col // step * step, DISC, step)


def verify(session: Session, box: tuple[int, int, int, int]) -> None:
    session.large_changes.submit(
        lambda document, do: VerifiedArea(document, do).complete(box),
        (box[2] - box[0]) * (box[3] - box[1]),
        "it",
    )


STEPS: list[Callable[[Session], object]] = [
    lambda session: session.paint_when_ready(disc(1000, 1000, 16), 1),
    lambda session: session.paint_when_ready(disc(10_000, 8000, 1), 2),
    lambda session: session.paint_when_ready(disc(3000, 4000, 8), 2),
    lambda session: session.paint_when_ready(disc(4500, 2000, 8), 0),
    lambda session: session.paint_when_ready(LocalMask(-256, -512, DISC, 16), 1, (3000, 3000)),
    lambda session: session.large_changes.edit((1, 2), lambda tools: tools.merge((1, 2)), "the merge"),
    lambda session: verify(session, (0, 0, 9000, 5000)),
    lambda session: session.large_changes.edit(
        (3,), lambda tools: tools.split_line(3, (0, 4100), (9000, 4300)), "the split"
    ),
    lambda session: session.large_changes.edit((3,), lambda tools: tools.delete((3,)), "the deletion"),
    lambda session: verify(session, (0, 0, *HW)),
]


def state(session: Session) -> tuple[Any, ...]:
    document, box = session.document, (0, 0, *HW)
    maps = [document.instance_map.read(box, step) for step in (16, 256)]
    records = {key: (record.class_id, record.box, record.area_px) for key, record in document.objects.items()}
    return *maps, document.verified_map.read(box, 16), records


def same(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(first[:3], second[:3], strict=True)) and (
        first[3] == second[3]
    )


def test_the_worker_gives_what_the_same_changes_give_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, states = open_session(tmp_path / "a.jsonl"), []
    for step in STEPS:
        step(session)
        compute(session)
        states.append(state(session))
    with monkeypatch.context() as patch:
        patch.setattr(large_changes, "LARGE_PX", 2**40)
        plain = open_session()
        for step, expected in zip(STEPS, states, strict=True):
            step(plain)
            assert not len(plain.large_changes)
            assert same(state(plain), expected)
    # All of it is in the journal, and undone and redone step by step.
    session.close()
    session = open_session(tmp_path / "a.jsonl")
    assert same(state(session), states[-1])
    assert (tmp_path / "a.jsonl").stat().st_size < 100_000
    for expected in reversed(states[:-1]):
        assert session.undo()
        assert same(state(session), expected)
    for expected in states[1:]:
        assert session.redo()
        assert same(state(session), expected)
    session.close()


def test_a_large_change_is_undone_by_exchanging_tiles() -> None:
    session = open_session()
    whole = LocalMask(0, 0, np.ones((-(-HW[0] // 32), -(-HW[1] // 32)), bool), 32)
    session.paint_when_ready(whole, 1)
    compute(session)
    (step,) = session._editor.history.done
    assert not step.patch.regions
    assert step.patch.nbytes < 2**23
    for _ in range(2):
        assert session.undo()
        assert not session.document.instance_map.any()
        assert session.redo()
    assert session.document.objects[1].area_px == HW[0] * HW[1]
    session.paint_mask(disc(200, 200, 1), 0)
    assert session.undo()
    assert session.undo()
    assert not session.document.instance_map.any()


def test_changes_keep_their_order_and_survive_edits_in_between() -> None:
    session, seen = open_session(), []
    session.large_changes.changed.connect(lambda: seen.append(len(session.large_changes)))
    session.paint_when_ready(disc(1000, 1000, 16), 1)
    session.paint_when_ready(disc(3000, 3000, 1), 2)  # Small, but made after the large one.
    assert seen == [1, 2]
    assert not session.document.objects
    job = session.large_changes.job()
    assert job is not None
    next(job)
    session.paint_mask(disc(20, 20, 1), 2)  # Makes the first result out of date.
    session.large_changes.accept(run(job))
    assert len(session.large_changes) == 2
    compute(session)
    assert not len(session.large_changes)
    assert [obj.class_id for obj in session.document.objects.values()] == [2, 1, 2]
    assert session.document.class_map[3150, 3150] == 2
    for _ in range(3):
        assert session.undo()
    assert not session.document.objects


def test_a_change_under_way_can_be_undone_and_redone() -> None:
    session, messages = open_session(), []
    session.message.connect(messages.append)
    session.paint_when_ready(disc(1000, 1000, 16), 1)
    job = session.large_changes.job()
    assert job is not None
    assert session.undo()
    assert messages == ["Undid the brush stroke, which was still being computed."]
    session.large_changes.accept(run(job))
    assert not session.document.objects
    assert not session.undo()
    assert session.redo()
    compute(session)
    assert len(session.document.objects) == 1
    session.paint_when_ready(disc(1000, 1000, 16), 0)
    session.large_changes.finish()
    assert session.document.object_at(2000, 2000) == 0


def test_a_change_that_cannot_be_made_is_said() -> None:
    session, messages, failed = open_session(), [], []
    session.message.connect(messages.append)
    session.paint_mask(disc(0, 0, 16), 1)
    session.overlap = "keep"
    session.paint_when_ready(disc(1000, 1000, 8), 2, failed=failed.append)
    session.large_changes.edit((1,), lambda tools: tools.split_components(1), "the split")
    compute(session)
    assert [type(error) for error in failed] == [PromptError]
    assert "covers only pixels of other objects" in messages[0]
    assert "cannot be split" in messages[1]
    assert not len(session.large_changes)
    assert len(session.document.objects) == 1


def test_a_commit_of_a_large_mask_waits_behind_large_strokes() -> None:
    session, committed = open_session(model=disc_model(as_seen=True)), []
    session.waiting.committed.connect(lambda obj, _remark: committed.append(obj.id))
    session.prompts.set_view((0, 0, *HW))
    session.paint_when_ready(disc(1000, 1000, 16), 1)
    for x in (7000, 8500):
        session.prompts.add_point(x, 9000)
        request = session.prompts.request()
        assert request is not None
        session.prompts.accept(session.prompts.answerer.answer(request))
        session.commit_when_ready()
    session.prompts.add_point(3000, 3000)
    assert len(session.large_changes) == 3
    compute(session)
    assert committed == [2, 3]
    # The new prompt was begun last, so it is undone first.
    assert session.undo()
    assert session.prompts.state.empty
    assert session.undo()
    assert session.document.objects.keys() == {1, 2}


def commit_at(session: Session, x: float, y: float) -> None:
    """Commit the answer to a click."""
    session.prompts.add_point(x, y)
    request = session.prompts.request()
    assert request is not None
    session.prompts.accept(session.prompts.answerer.answer(request))
    session.commit_when_ready()


def test_the_user_is_asked_about_an_overlap_with_a_change_that_was_not_made_yet() -> None:
    session, asked = open_session(model=disc_model(as_seen=True)), []
    session.overlap_found.connect(asked.append)
    session.overlap = "ask"
    session.prompts.set_view((0, 0, *HW))
    session.paint_when_ready(disc(1000, 1000, 16), 1)
    commit_at(session, 3000, 3000)
    commit_at(session, 7000, 9000)
    assert not asked, "the stroke is not in the document"
    compute(session)
    assert len(asked) == 1
    assert set(session.document.objects) == {1, 2}, "the stroke, and the commit beside it"
    session.waiting.decide("keep")
    compute(session)
    assert not len(session.waiting)
    assert set(session.document.objects) <= {1, 2}, "all pixels belong to the stroke"
    assert not session.prompts.state.empty, "so the prompt is returned"


def test_an_error_after_a_change_does_not_remove_it_twice() -> None:
    session, messages = open_session(), []
    session.message.connect(messages.append)

    def done(_: object) -> None:
        raise PromptError("There is nothing to say; go on.")

    session.large_changes.submit(lambda *_: None, 2**30, "a change", done)
    session.paint_when_ready(disc(1000, 1000, 16), 1)
    compute(session)
    assert messages == ["There is nothing to say; go on."]
    assert set(session.document.objects) == {1}
