"""Commits whose masks are late: the result equals that of a model that answers at once."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sampath.annotations.storage import journal as journal_module
from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import PromptError, StorageError
from napari_sampath.session import Answer, PromptRequest, Session
from support.models.disc_model import disc_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_sampath.session import Overlap

HW = (256, 256)
CLASSES = (ClassInfo(1, "nucleus", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))
SPOTS = [(x, y) for y in range(25, 256, 50) for x in range(25, 256, 50)]


class LateModel:
    """Passes the requests of a session to its answerer, at once or when `run` is called.

    Args:
        session: The session.
        late: Whether requests wait for `run`.
    """

    def __init__(self, session: Session, late: bool) -> None:
        self.session = session
        self._late = late
        self._kept: deque[PromptRequest] = deque()
        self._newest: PromptRequest | None = None
        session.waiting.changed.connect(self._ask_waiting)

    def ask(self) -> None:
        """Request the masks of the pending prompt, as after a click."""
        self._newest = self.session.prompts.request()
        if not self._late:
            self.run()

    def run(self, count: int = 1_000_000) -> None:
        """Answer up to `count` requests."""
        while count and (self._kept or self._newest):
            count -= 1
            if self._kept:
                request = self._kept.popleft()
            else:
                assert self._newest is not None
                request, self._newest = self._newest, None
            answer: Answer = self.session.prompts.answerer.answer(request)
            self.session.waiting.accept(answer)
            self.session.prompts.accept(answer)

    def _ask_waiting(self) -> None:
        for item in self.session.waiting.items:
            request = self.session.waiting.request(item)
            asked = any(other.state is item.state for other in self._kept)
            if item.answer is None and not asked and request is not None:
                self._kept.append(request)


def open_session(late: bool, journal: Path | None = None) -> tuple[Session, LateModel]:
    image = np.random.default_rng(3).integers(0, 255, (*HW, 3), dtype=np.uint8)
    session = Session(image, "slide", disc_model(), CLASSES, journal)
    return session, LateModel(session, late)


def click(late: LateModel, x: float, y: float, positive: bool = True) -> None:
    late.session.prompts.add_point(x, y, positive)
    late.ask()


def contents(session: Session) -> tuple[bytes, list[Any]]:
    """Return everything but the ids, which objects that were undone have used up if the model is quick."""
    document = session.document
    objects = [(obj.class_id, obj.area_px, obj.box, obj.prompts) for obj in document.objects.values()]
    return np.asarray(document.class_map).tobytes(), objects


def test_every_commit_of_a_late_model_is_one_object_in_order() -> None:
    session, late = open_session(late=True)
    made: list[int] = []
    session.waiting.committed.connect(lambda obj: made.append(obj.id))
    for number, (x, y) in enumerate(SPOTS):
        session.active_class = 1 + number % 2
        click(late, x, y)
        session.commit_when_ready()
        assert session.prompts.state.empty, "the next click begins another object"
    assert not session.document.objects
    assert len(session.waiting) == len(SPOTS)
    late.run()
    assert made == list(range(1, len(SPOTS) + 1))
    for number, (x, y) in enumerate(SPOTS):
        obj = session.document.objects[session.document.object_at(y, x)]
        assert (obj.id, obj.class_id) == (number + 1, 1 + number % 2)
        assert obj.prompts["points"] == [[x, y]]


Action = "Callable[[], object]"


def play(late: LateModel, seed: int, rounds: int, answers: random.Random | None) -> None:
    """Perform random actions; with `answers`, some of the waiting requests are answered in between."""
    chance, session = random.Random(seed), late.session
    spots = chance.sample(SPOTS, len(SPOTS))
    begun: list[tuple[int, int]] = []

    def new_click() -> None:
        if session.prompts.state.empty and spots:
            begun.append(spots.pop())
            click(late, *begun[-1])

    def correct() -> None:
        if session.prompts.state.points:
            x, y = begun[-1]
            click(late, x + chance.choice([-9, 9]), y, chance.random() < 0.5)

    def box() -> None:
        if session.prompts.state.empty and spots:
            begun.append(spots.pop())
            x, y = begun[-1]
            session.prompts.set_box(x - 9, y - 14, x + 9, y + 14)
            late.ask()

    def commit() -> None:
        if not session.prompts.state.empty:
            session.commit_when_ready(chance.choice([None, "overwrite", "keep"]))

    def history(step: Callable[[], bool]) -> None:
        step()
        late.ask()

    actions: list[Callable[[], object]] = [
        new_click,
        new_click,
        new_click,
        correct,
        box,
        commit,
        commit,
        commit,
        lambda: session.prompts.next_candidate(),
        lambda: history(session.undo),
        lambda: history(session.redo),
        lambda: history(session.prompts.remove_last),
        session.prompts.clear,
        lambda: setattr(session, "active_class", chance.choice([1, 2])),
    ]
    for _ in range(rounds):
        chance.choice(actions)()
        if answers is not None and answers.random() < 0.3:
            late.run(1)
    late.run()


@pytest.mark.parametrize("seed", range(12))
def test_the_result_does_not_depend_on_the_speed_of_the_model(seed: int) -> None:
    quick, quick_model = open_session(late=False)
    play(quick_model, seed, 120, None)
    assert quick.document.objects, "a run without objects would test nothing"
    for answers in (None, random.Random(seed), random.Random(seed + 1000)):
        slow, slow_model = open_session(late=True)
        play(slow_model, seed, 120, answers)
        assert contents(slow) == contents(quick)
        for step in ("undo", "undo", "redo", "undo", "redo", "redo"):
            getattr(quick, step)()
            getattr(slow, step)()
            assert contents(slow) == contents(quick)


def test_undo_takes_back_a_waiting_commit_and_redo_makes_it_again() -> None:
    session, late = open_session(late=True)
    messages: list[str] = []
    session.message.connect(messages.append)
    for x, y in SPOTS[:2]:
        click(late, x, y)
        session.commit_when_ready()
    assert session.undo()
    assert messages == ["Undid the nucleus at (75, 25), whose mask was still being computed."]
    assert session.redo()
    assert session.undo()
    late.run()
    assert len(session.document.objects) == 1
    assert session.redo()
    late.run()
    assert len(session.document.objects) == 2
    session.undo()
    click(late, *SPOTS[2])
    assert not session.redo(), "a new click ends the redo"


def test_the_steps_of_a_newer_prompt_are_undone_first() -> None:
    session, late = open_session(late=True)
    click(late, *SPOTS[0])
    session.commit_when_ready()
    click(late, *SPOTS[1])
    click(late, SPOTS[1][0] + 5, SPOTS[1][1])
    late.run()
    assert len(session.document.objects) == 1
    session.undo()
    session.undo()
    assert session.prompts.state.empty
    assert len(session.document.objects) == 1
    session.undo()
    assert not session.document.objects


def test_a_question_about_an_overlap_holds_the_later_commits() -> None:
    session, late = open_session(late=True)
    session.overlap = "ask"
    asked: list[Overlap] = []
    session.overlap_found.connect(asked.append)
    for x in (60, 70, 200):
        click(late, x, 60)
        session.commit_when_ready()
    late.run()
    assert len(asked) == 1
    assert session.waiting.overlap is asked[0]
    assert len(session.document.objects) == 1
    session.waiting.decide("keep")
    assert [obj.id for obj in session.document.objects.values()] == [1, 2, 3]
    assert session.document.object_at(60, 65) == 1
    click(late, 70, 64)
    session.commit_when_ready()
    late.run()
    session.waiting.decide(None)
    assert not len(session.waiting)
    assert session.prompts.state.points == ((70.0, 64.0, True),), "the prompt can be edited"
    assert session.prompts.candidate is not None


def test_a_failed_mask_returns_the_prompt_or_says_what_is_missing() -> None:
    session, late = open_session(late=True)
    messages: list[str] = []
    session.message.connect(messages.append)
    click(late, *SPOTS[0])
    session.commit_when_ready()
    click(late, *SPOTS[1])
    session.commit_when_ready()
    session.waiting.fail(session.waiting.items[0].state, "There is no memory left.")
    assert session.prompts.state.points == ((25.0, 25.0, True),)
    session.waiting.fail(session.waiting.items[0].state, "There is no memory left.")
    assert messages == [
        "There is no memory left.",
        "The nucleus at (75, 25) was not added. There is no memory left.",
    ]


def test_a_full_disk_keeps_the_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, late = open_session(late=True, journal=tmp_path / "journal.jsonl")
    for x, y in SPOTS[:3]:
        click(late, x, y)
        session.commit_when_ready()
    click(late, *SPOTS[3])
    append = journal_module.Journal.append

    def full(*_: object) -> int:
        raise StorageError("The disk is full; delete something.")

    monkeypatch.setattr(journal_module.Journal, "append", full)
    late.run()
    assert len(session.waiting) == 3
    assert not session.document.objects
    monkeypatch.setattr(journal_module.Journal, "append", append)
    session.commit_when_ready()
    assert len(session.document.objects) == 4
    session.close()
    again = Session(session.image, "slide", None, (), tmp_path / "journal.jsonl")
    assert contents(again) == contents(session)
    again.close()


def test_finish_carries_out_everything_before_a_session_is_closed() -> None:
    session, late = open_session(late=True)
    session.overlap = "ask"
    for x in (60, 70, 200):
        click(late, x, 60)
        session.commit_when_ready()
    assert session.waiting.finish(60) == 0
    assert len(session.document.objects) == 3


def test_a_double_click_is_one_object_when_only_new_ones_are_wanted() -> None:
    session, late = open_session(late=True)
    messages: list[str] = []
    session.message.connect(messages.append)
    for _ in range(2):
        click(late, *SPOTS[0])
        session.commit_when_ready(only_new=True)
    late.run()
    assert len(session.document.objects) == 1
    assert messages == ["The nucleus at (25, 25) exists already; nothing was added."]


def test_nothing_to_hold() -> None:
    session, _ = open_session(late=True)
    with pytest.raises(PromptError, match="nothing to commit"):
        session.commit_when_ready()
