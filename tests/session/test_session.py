from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.tiny_sam import tiny_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sampath.annotations import Box, innermost
from napari_sampath.annotations.model.annotated_object import now
from napari_sampath.arrays import ClassInfo, LocalMask, Prompts
from napari_sampath.errors import (
    ClassListError,
    DuplicateNameError,
    ImageError,
    PromptError,
    UnknownNameError,
)
from napari_sampath.formats import DatasetFolder
from napari_sampath.geometry import Frame
from napari_sampath.jobs import Progress, run
from napari_sampath.predict.decoder.candidates import corrected, satisfied_points
from napari_sampath.predict.decoder.mask_upscaling import (
    keep_prompted,
    local_mask,
    mask_to_logits,
    prompted_cells,
)
from napari_sampath.session import NewObjects, ResultFilter, Session, from_segmentation
from napari_sampath.session.prompts.candidate import Candidate
from napari_sampath.session.prompts.tile_cache import MAX_TILES
from napari_sampath.session.proposals.new_objects import NewObject, make_items
from support.models.disc_model import SCORES, disc_model
from support.paths import JOURNALS
from support.programs.journal_victim import commit_at, digest, prompt_at

if TYPE_CHECKING:
    from pathlib import Path

HW = (96, 128)
CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))


def picture(hw: tuple[int, int] = HW) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (*hw, 3), dtype=np.uint8)


@pytest.fixture
def session() -> Session:
    return Session(picture(), "slide", disc_model(), CLASSES)


def requests(session: Session) -> list[Any]:
    model: Any = session.model
    return list(model.asked)


def settle(session: Session) -> None:
    request = session.prompts.request()
    assert request is not None
    assert session.prompts.accept(session.prompts.answerer.answer(request))


@dataclass
class SignalRecorder:
    """Records the signals of a session in order."""

    events: list[tuple[Any, ...]] = field(default_factory=list)

    def listen(self, session: Session) -> SignalRecorder:
        for name in (
            "prompts_changed",
            "candidate_changed",
            "document_changed",
            "classes_changed",
            "message",
        ):
            getattr(session, name).connect(lambda *args, name=name: self.events.append((name, *args)))
        return self

    def take(self) -> list[tuple[Any, ...]]:
        taken, self.events[:] = list(self.events), []
        return taken


def test_importing_session_imports_neither_torch_nor_qt() -> None:
    program = (
        "import sys, napari_sampath.session as s; s.Session;"
        "found = {'torch', 'qtpy', 'PyQt6', 'napari'} & set(sys.modules); sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_signals_from_click_to_commit(session: Session) -> None:
    signals = SignalRecorder().listen(session)
    session.prompts.add_point(40, 30)
    assert signals.take() == [("prompts_changed",)]
    request = session.prompts.request()
    assert request is not None
    answer = session.prompts.answerer.answer(request)
    assert signals.take() == [], "answering does not change the session"
    assert session.prompts.accept(answer)
    candidate = session.prompts.candidate
    assert candidate is not None
    box = candidate.box
    assert signals.take() == [("candidate_changed", None, box)]
    assert candidate.mask.to_dense(HW)[30, 40]
    assert candidate.mask.area_px == pytest.approx(np.pi * 12**2, rel=0.03)
    session.active_class = 2
    annotation = session.commit()
    assert signals.take() == [
        ("candidate_changed", box, None),
        ("prompts_changed",),
        ("document_changed", box),
    ]
    assert (annotation.class_id, annotation.source, annotation.model) == (2, "point", "discs")
    assert annotation.score == pytest.approx(0.9)
    assert annotation.prompts == {"points": [[40.0, 30.0]], "labels": [1], "box": None, "mask": False}
    assert (session.document.class_map == 2 * candidate.mask.to_dense(HW)).all()
    assert (session.document.instance_map == candidate.mask.to_dense(HW)).all()
    assert session.prompts.state.empty
    assert session.prompts.candidates == ()


def test_candidates_are_sorted_by_predicted_iou_and_cycle(session: Session) -> None:
    signals = SignalRecorder().listen(session)
    prompt_at(session, 40, 30)
    assert [round(candidate.score, 1) for candidate in session.prompts.candidates] == [0.9, 0.7, 0.5]
    areas = [candidate.mask.area_px for candidate in session.prompts.candidates]
    assert areas[0] > areas[1] > areas[2]
    signals.take()
    seen = [session.prompts.next_candidate() for _ in range(3)]
    assert seen == [
        session.prompts.candidates[1],
        session.prompts.candidates[2],
        session.prompts.candidates[0],
    ]
    boxes = [candidate.box for candidate in session.prompts.candidates]
    assert signals.take() == [
        ("candidate_changed", boxes[0], boxes[1]),
        ("candidate_changed", boxes[1], boxes[2]),
        ("candidate_changed", boxes[2], boxes[0]),
    ]
    assert session.prompts.next_candidate(-1) is session.prompts.candidates[2]
    assert session.commit().area_px == areas[2]
    assert session.prompts.next_candidate() is None


@pytest.mark.parametrize(
    "move_on",
    [
        lambda s: s.prompts.add_point(50, 50),
        lambda s: s.prompts.set_box(10, 10, 40, 40),
        lambda s: s.prompts.remove_last(),
        lambda s: s.prompts.clear(),
        lambda s: s.undo(),
        lambda s: setattr(s, "model", disc_model(name="other")),
        lambda s: setattr(s, "model", None),
        lambda s: (s.undo(), s.redo()),
        lambda s: (s.prompts.accept(s.prompts.answerer.answer(s.prompts.request())), s.commit()),
    ],
)
def test_answer_to_an_older_prompt_is_dropped(session: Session, move_on: Any) -> None:
    session.prompts.add_point(40, 30)
    request = session.prompts.request()
    assert request is not None
    stale = session.prompts.answerer.answer(request)
    move_on(session)
    before = session.prompts.candidates
    signals = SignalRecorder().listen(session)
    assert not session.prompts.accept(stale)
    assert session.prompts.candidates == before
    assert signals.take() == []


def test_answer_of_another_session_is_dropped(session: Session) -> None:
    other = Session(picture(), "other", disc_model(), CLASSES)
    for each in (session, other):
        each.prompts.add_point(40, 30)
    request = other.prompts.request()
    assert request is not None
    assert not session.prompts.accept(other.prompts.answerer.answer(request))


def test_refinement_feeds_back_the_chosen_logits_and_requests_one_mask(session: Session) -> None:
    prompt_at(session, 40, 30)
    chosen = session.prompts.next_candidate()
    assert chosen is not None
    session.prompts.add_point(44, 30, positive=False)
    assert len(session.prompts.candidates) == 3, "the old answer is shown until the new one arrives"
    settle(session)
    prompts, multimask = requests(session)[-1]
    assert prompts.points_xy.tolist() == [[40, 30], [44, 30]]
    assert prompts.labels.tolist() == [1, 0]
    assert prompts.mask_logits is chosen.logits
    assert not multimask
    assert len(session.prompts.candidates) == 1
    # Two more points before the answer arrives: each refines the answer to the point before, as if it had been there.
    refined = session.prompts.candidates[0].logits
    session.prompts.add_point(46, 30)
    session.prompts.add_point(48, 30)
    settle(session)
    first, second = (prompts for prompts, _ in requests(session)[-2:])
    assert first.mask_logits is refined
    assert second.mask_logits is not refined
    assert [len(prompts.points_xy) for prompts in (first, second)] == [3, 4]
    # Undo sends the same request again.
    session.undo()
    session.undo()
    settle(session)
    assert requests(session)[-1][0].mask_logits is chosen.logits
    session.undo()
    settle(session)
    assert requests(session)[-1] == (requests(session)[-1][0], True)
    assert requests(session)[-1][0].mask_logits is None


def test_number_of_requested_masks(session: Session) -> None:
    def multimask() -> bool | None:
        settle(session)
        wanted: bool | None = requests(session)[-1][1]
        session.prompts.clear()
        return wanted

    session.prompts.add_point(40, 30)
    assert multimask(), "one point is ambiguous"
    session.prompts.set_box(10, 10, 60, 60)
    assert multimask() is False
    session.prompts.set_box(10, 10, 60, 60)
    session.prompts.add_point(40, 30)
    assert multimask() is None
    session.prompts.set_mask(LocalMask(20, 20, np.ones((20, 20), dtype=bool)))
    assert multimask() is False
    session.prompts.add_point(40, 30)
    session.prompts.add_point(42, 30)
    assert multimask() is None, "the mask that obeys the points is chosen from all four"


def test_box_with_points(session: Session) -> None:
    session.prompts.set_box(90, 70, 30, 20)
    session.prompts.add_point(50, 40, positive=False)
    settle(session)
    prompts = requests(session)[-1][0]
    assert prompts.box_xyxy.tolist() == [30, 20, 90, 70]
    assert prompts.labels.tolist() == [0]
    annotation = session.commit()
    assert annotation.source == "box"
    assert annotation.prompts["box"] == [30.0, 20.0, 90.0, 70.0]
    assert annotation.prompts["labels"] == [0]


@pytest.mark.parametrize("other", ["box", "mask"])
def test_box_or_mask_drops_earlier_logits(session: Session, other: str) -> None:
    prompt_at(session, 40, 30)
    session.prompts.add_point(44, 30)
    settle(session)
    mask = LocalMask(20, 20, np.ones((30, 30), dtype=bool))
    if other == "box":
        session.prompts.set_box(20, 20, 60, 60)
    else:
        session.prompts.set_mask(mask)
    settle(session)
    prompts, multimask = requests(session)[-1]
    assert len(prompts.points_xy) == 2
    assert not multimask
    if other == "box":
        assert prompts.mask_logits is None
    else:
        model: Any = session.model
        assert (prompts.mask_logits == model.mask_to_logits(mask, session.prompts.state.frame)).all()


def test_box_is_cropped_to_the_image(session: Session) -> None:
    session.prompts.set_box(-20, 50, 60, 500)
    assert session.prompts.state.box == (0, 50, 60, 96)
    session.prompts.set_box(60, 20, 30, 40)
    assert session.prompts.state.box == (30, 20, 60, 40)
    session.prompts.remove_last()
    assert session.prompts.state.box == (0, 50, 60, 96)


def test_mask_prompt(session: Session) -> None:
    rows, cols = np.mgrid[:24, :24]
    mask = LocalMask(30, 60, np.hypot(rows - 11.5, cols - 11.5) < 11)
    session.prompts.set_mask(mask)
    settle(session)
    prompts = requests(session)[-1][0]
    # 256 cells over the longer side of 128 px: two cells per pixel.
    assert ((prompts.mask_logits > 0).sum() / 4) == pytest.approx(mask.area_px, rel=0.05)
    np.testing.assert_allclose(prompts.points_xy, [[72, 42]], atol=1)  # a mask is sent with a click in it
    assert prompts.labels.tolist() == [1]
    candidate = session.prompts.candidate
    assert candidate is not None
    overlap = (candidate.mask.to_dense(HW) & mask.to_dense(HW)).sum()
    assert overlap / mask.area_px > 0.95
    annotation = session.commit()
    assert annotation.source == "mask"
    assert annotation.prompts["mask"] is True


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda s: s.prompts.add_point(-1, 5), r"x=-1, y=5 lies outside the image of 128 x 96 px"),
        (lambda s: s.prompts.add_point(5, 96.5), r"x=5, y=96\.5 lies outside"),
        (lambda s: s.prompts.add_point(float("nan"), 5), r"lies outside|not a number"),
        (lambda s: s.prompts.set_box(200, 5, 300, 50), r"lies outside the image"),
        (lambda s: s.prompts.set_box(5, 5, 5.5, 50), r"at least 1 px wide and high"),
        (lambda s: s.prompts.set_box(float("inf"), 5, 9, 50), r"finite numbers"),
        (
            lambda s: s.prompts.set_mask(LocalMask(5, 5, np.zeros((4, 4), dtype=bool))),
            r"mask prompt is empty",
        ),
        (
            lambda s: s.prompts.set_mask(LocalMask(90, 120, np.ones((9, 9), dtype=bool))),
            r"lies outside the image",
        ),
        (lambda s: s.commit(), r"no mask to commit; click on an object"),
        (lambda s: s.objects.delete((3,)), r"no object 3"),
        (lambda s: s.objects.reclassify((3,), 1), r"no object 3"),
        (lambda s: s.paint([3], [3], 7), r"no class with id 7"),
        (lambda s: s.paint([3], [3], 1, object_id=4), r"no object 4"),
        (lambda s: setattr(s, "active_class", 9), r"no class with id 9"),
    ],
)
def test_refused_calls_raise_one_sentence_and_change_nothing(
    session: Session, call: Any, sentence: str
) -> None:
    commit_at(session, 100, 20)
    session.prompts.add_point(40, 30)
    session.prompts.clear()
    before, signals = digest(session), SignalRecorder().listen(session)
    with pytest.raises((PromptError, UnknownNameError), match=sentence) as caught:
        call(session)
    assert "\n" not in str(caught.value)
    assert digest(session) == before
    assert session.prompts.state.empty
    assert signals.take() == []
    assert session.undo(), "the commit, not the refusal"
    assert session.document.objects == {}


def test_refused_prompt_keeps_earlier_prompts(session: Session) -> None:
    prompt_at(session, 40, 30)
    candidates = session.prompts.candidates
    with pytest.raises(PromptError, match="outside"):
        session.prompts.add_point(400, 30)
    assert len(session.prompts.state.points) == 1
    assert session.prompts.candidates == candidates
    session.commit()


def test_outdated_mask_is_not_committed(session: Session) -> None:
    prompt_at(session, 40, 30)
    shown = session.prompts.candidate
    session.prompts.add_point(44, 30, positive=False)
    assert not session.prompts.answered
    with pytest.raises(PromptError, match="for the last prompt is not ready yet; wait for it, or undo"):
        session.commit()
    assert (session.prompts.candidate, len(session.prompts.state.points)) == (shown, 2)
    session.prompts.remove_last()
    assert session.prompts.answered, "the mask shown is the answer again"
    session.redo()
    settle(session)
    annotation = session.commit()
    assert annotation.prompts["labels"] == [1, 0]


def test_empty_candidate_is_not_committed(session: Session) -> None:
    session.model = tiny_like_empty()
    prompt_at(session, 40, 30)
    assert session.prompts.candidate is not None
    assert session.prompts.candidate.box is None
    with pytest.raises(PromptError, match="mask is empty; add a point or choose another"):
        session.commit()


def test_empty_candidate_is_last(session: Session) -> None:
    session.model = tiny_like_empty([int(np.argmax(SCORES))])
    prompt_at(session, 40, 30)
    assert [round(candidate.score, 1) for candidate in session.prompts.candidates] == [0.7, 0.5, 0.9]
    assert [candidate.box is None for candidate in session.prompts.candidates] == [False, False, True]


def tiny_like_empty(which: Any = slice(None)) -> Any:
    """Return a model, some of whose masks are empty."""
    model = disc_model()
    plain = model.decode

    def decode(*args: Any) -> Any:
        logits, scores = plain(*args)
        logits[which] -= 1000
        return logits, scores

    model.decode = decode
    return model


def test_without_a_model(session: Session) -> None:
    session.model = None
    session.prompts.add_point(40, 30)
    assert session.prompts.request() is None
    with pytest.raises(PromptError, match="No model is loaded"):
        session.prompts.encode_job()
    with pytest.raises(PromptError, match="no mask to commit"):
        session.commit()
    session.model = disc_model()
    assert len(session.prompts.state.points) == 1, "the prompt waits for its model"
    settle(session)
    assert session.commit().id == 1


def test_another_model_drops_the_answers(session: Session) -> None:
    prompt_at(session, 40, 30)
    session.prompts.add_point(50, 30)
    signals = SignalRecorder().listen(session)
    session.model = disc_model(name="other")
    assert session.prompts.candidates == ()
    assert signals.take()[0][0] == "candidate_changed"
    settle(session)
    assert requests(session)[-1][0].mask_logits is None, "logits of the previous model are dropped"
    assert session.commit().model == "other"
    same = session.model
    prompt_at(session, 20, 20)
    session.model = same
    assert session.prompts.candidate is not None


def test_one_frame_for_all_prompts_of_an_object_in_a_large_image() -> None:
    session = Session(picture((64, 4096)), "wide", disc_model(), CLASSES)
    prompt_at(session, 1000, 30)
    first = session.prompts.state.frame
    assert first is not None
    assert (first.width, first.height) == (1024, 64)
    assert first.left <= 1000 - 256
    # Inside the tile, although another tile is nearer.
    session.prompts.add_point(first.left + 1000, 30)
    assert session.prompts.state.frame == first
    assert session.prompts.state.previous_logits is not None
    settle(session)
    # Outside: all points on one larger tile, and the logits of the old one are dropped.
    session.prompts.add_point(first.left + 1300, 30)
    wider = session.prompts.state.frame
    assert wider is not None
    assert wider != first
    assert wider.contains([(x, y) for x, y, _ in session.prompts.state.points])
    assert session.prompts.state.previous_logits is None
    settle(session)
    assert requests(session)[-1][0].mask_logits is None
    session.undo()
    assert session.prompts.state.frame == first


def test_encode_job_encodes_tiles_nearest_first_and_once() -> None:
    model = disc_model()
    session = Session(picture((2048, 4096)), "large", model, CLASSES)
    reports: list[Progress] = []
    assert run(session.prompts.encode_job((100, 3900)), reports.append) == 4
    assert [report.done for report in reports] == [0, 1, 2, 3, 4]
    assert {(report.total, report.unit) for report in reports} == {(4, "tiles")}
    assert (model.encoded[0].top, model.encoded[0].left) == (0, 3072)
    assert len(set(model.encoded)) == 4
    assert all(frame.left >= 2048 and frame.top <= 1024 for frame in model.encoded)
    assert run(session.prompts.encode_job((100, 3900))) == 4
    prompt_at(session, 3800, 200)
    assert len(model.encoded) == 4, "a click in the view needs no other tile"
    prompt_at(session, 200, 200)
    assert session.prompts.state.frame not in model.encoded[:4]
    session.prompts.clear()
    prompt_at(session, 300, 1900)
    assert len(model.encoded) == 6
    assert run(Session(picture(), "small", disc_model()).prompts.encode_job()) == 1


def test_view_job_encodes_missing_tiles_from_the_centre() -> None:
    model = disc_model()
    session = Session(picture((4096, 4096)), "large", model, CLASSES)
    corner = (3400, 3400, 4096, 4096)
    job = session.prompts.view_job(corner)
    assert job is not None
    assert run(job) == 1
    assert [(frame.top, frame.left) for frame in model.encoded] == [(3072, 3072)]
    assert session.prompts.view_job(corner) is None
    assert session.prompts.view_job((4096, 0, 4096, 300)) is None, "the image is not in view"
    wide = (1500, 1500, 4096, 4096)
    job = session.prompts.view_job(wide)
    assert job is not None
    run(job)
    found = model.encoded[1:]
    assert len(found) == 4
    assert all(2000 <= frame.top + 512 <= 3600 and 2000 <= frame.left + 512 <= 3600 for frame in found)
    while (job := session.prompts.view_job(wide)) is not None:
        run(job)
    encoded = len(model.encoded)
    for x in (1500, 2222, 2815, 2817, 3333, 4096):
        for y in (1500, 2222, 2815, 2817, 3333, 4096):
            assert session.prompts.preview(x, y) is not None
    assert len(set(model.encoded)) == encoded, "each tile once"
    assert Session(picture(), "none", None, CLASSES).prompts.view_job((0, 0, 20, 20)) is None


@pytest.fixture
def zoomed() -> Session:
    """Return a session with the centre of the image in view and its high-resolution tiles encoded."""
    session = Session(picture((600, 800)), "field", disc_model(), CLASSES)
    run(session.prompts.encode_job())
    look(session, (150, 200, 450, 600))
    return session


def look(session: Session, view: Box) -> None:
    session.prompts.set_view(view)
    while (job := session.prompts.view_job(view)) is not None:
        run(job)


def test_corrections_are_obeyed_whatever_the_model_returns() -> None:
    session = Session(picture((600, 800)), "field", disc_model(), CLASSES)
    prompt_at(session, 400, 300)
    first = session.prompts.candidate
    assert first is not None
    session.prompts.add_point(406, 300, positive=False)
    settle(session)
    second = session.prompts.candidate
    assert second is not None
    assert mask_at(second, 400, 300)
    assert not mask_at(second, 406, 300)
    session.prompts.add_point(430, 300)
    settle(session)
    assert requests(session)[-1][0].mask_logits is second.logits, (
        "the logits of the model are fed back, not the corrected ones"
    )
    assert session.prompts.candidate is not None
    assert [mask_at(session.prompts.candidate, x, 300) for x in (400, 406, 430)] == [True, False, True]
    assert mask_at(second, 394, 300) == mask_at(first, 394, 300), "pixels far from a correction do not change"
    session.commit()
    assert session.document.instance_map[300, 430] == session.document.instance_map[300, 400] > 0


def mask_at(candidate: Candidate, x: int, y: int) -> bool:
    return bool(candidate.mask.to_dense((600, 800))[y, x])


def test_zooming_in_switches_to_high_resolution_tiles(zoomed: Session) -> None:
    model: Any = zoomed.model
    assert [frame.hw for frame in model.encoded] == [(600, 800)] + [(400, 400)] * (len(model.encoded) - 1)
    assert 4 <= len(set(model.encoded)) == len(model.encoded) <= 10
    encoded = len(model.encoded)
    preview = zoomed.prompts.preview(400, 310)
    assert preview is not None
    assert preview.frame == Frame(200, 200, 400, 400)
    prompt_at(zoomed, 400, 310)
    assert zoomed.prompts.state.frame == preview.frame
    assert zoomed.prompts.candidate is not None
    assert zoomed.prompts.candidate.frame == preview.frame
    assert zoomed.commit() is not None
    zoomed.prompts.set_box(210, 200, 590, 400)
    assert zoomed.prompts.state.frame == Frame(0, 0, 600, 800), (
        "the box does not fit on a high-resolution tile"
    )
    zoomed.prompts.clear()
    zoomed.prompts.set_view((0, 0, 600, 800))
    prompt_at(zoomed, 400, 310)
    assert zoomed.prompts.state.frame == Frame(0, 0, 600, 800), "the whole image is in view"
    assert len(model.encoded) == encoded, "nothing was encoded for the clicks"


def test_clicks_do_not_wait_for_high_resolution_tiles() -> None:
    session = Session(picture((600, 800)), "field", disc_model(), CLASSES)
    run(session.prompts.encode_job())
    session.prompts.set_view((150, 200, 450, 600))
    shown = session.prompts.preview(400, 310)
    assert shown is not None
    assert session.prompts.answerer.preview(shown).candidates[0].frame == Frame(0, 0, 600, 800)
    look(session, (150, 200, 450, 600))
    session.prompts.add_point(400, 310)
    request = session.prompts.request()
    assert request is not None
    assert session.prompts.answerer.from_preview(request) is None, "its logits belong to another tile"
    settle(session)
    assert session.prompts.candidate is not None
    assert session.prompts.candidate.frame == session.prompts.state.frame == Frame(200, 200, 400, 400)


def test_slow_models_get_no_high_resolution_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    view = (150, 200, 450, 600)
    session = Session(picture((600, 800)), "field", disc_model(), CLASSES)
    job = session.prompts.view_job(view)
    assert job is not None
    monkeypatch.setattr("napari_sampath.session.prompts.tile_cache.QUICK_S", 0.0)
    assert run(job) == 1, "the job stops once a tile is slow"
    assert session.prompts.view_job(view) is None


def test_small_images_have_no_high_resolution_tiles() -> None:
    session = Session(picture((96, 128)), "small", disc_model(), CLASSES)
    look(session, (10, 10, 30, 30))
    model: Any = session.model
    assert model.encoded == [Frame(0, 0, 96, 128)]


def test_view_job_of_more_tiles_than_the_cache_ends() -> None:
    model = disc_model()
    session = Session(picture((4096, 8192)), "large", model, CLASSES)
    run(session.prompts.encode_job((0, 0)))
    for _ in range(20):
        job = session.prompts.view_job((0, 0, 4096, 8192))
        if job is not None:
            run(job)
    assert session.prompts.view_job((0, 0, 4096, 8192)) is None
    assert session.prompts.preview(4096, 2048) is not None, "tiles at the centre are kept"
    assert len(model.encoded) == 4 + MAX_TILES


def test_encoding_can_be_cancelled_between_tiles() -> None:
    model = disc_model()
    job = Session(picture((2048, 2048)), "large", model, CLASSES).prompts.encode_job()
    next(job)
    next(job)
    job.close()
    assert len(model.encoded) == 1


def test_two_threads_encode_a_tile_once() -> None:
    model = disc_model(gate=threading.Event())
    session = Session(picture(), "slide", model, CLASSES)
    session.prompts.add_point(40, 30)
    request = session.prompts.request()
    assert request is not None
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(session.prompts.answerer.answer(request)))
        for _ in range(3)
    ]
    threads.append(threading.Thread(target=lambda: run(session.prompts.encode_job())))
    for thread in threads:
        thread.start()
    model.gate.set()
    for thread in threads:
        thread.join(20)
    assert len(answers) == 3
    assert len(model.encoded) == 1
    assert session.prompts.accept(answers[2])


def test_class_edits_are_signalled_saved_and_undone(tmp_path: Path) -> None:
    session = Session(picture(), "slide", None, CLASSES, tmp_path / "a.jsonl")
    signals = SignalRecorder().listen(session)
    fat = session.classes.add("fat")
    session.classes.rename(1, "tubule")
    session.classes.recolor(2, (1, 2, 3))
    assert signals.take() == [("classes_changed",)] * 3
    session.active_class = fat.id
    with pytest.raises(DuplicateNameError):
        session.classes.add(" FAT")
    assert signals.take() == []
    assert session.undo()
    assert session.undo()
    assert session.undo()
    assert session.classes.snapshot == CLASSES
    assert session.active_class == 1, "the active class was undone"
    assert not session.undo()
    assert session.redo()
    assert session.classes.by_name("fat").id == 3
    session.close()
    assert Session(picture(), "slide", None, None, tmp_path / "a.jsonl").classes.by_name("fat").id == 3


def test_class_in_use_cannot_be_removed(session: Session) -> None:
    commit_at(session, 40, 30)
    with pytest.raises(ClassListError, match=r"'gland' is used by 1 object"):
        session.classes.remove(1)
    session.classes.remove(2)
    session.objects.delete((1,))
    session.classes.remove(1)
    assert session.active_class == 0
    prompt_at(session, 40, 30)
    with pytest.raises(UnknownNameError, match="no class with id 0; available: none, add a class first"):
        session.commit()
    session.classes.add("vessel")
    assert session.active_class == 1
    session.commit()


def test_session_without_classes_starts_with_one() -> None:
    session = Session(picture(), "slide")
    assert [(info.id, info.name) for info in session.classes] == [(1, "object")]
    assert session.active_class == 1


def test_brush_strokes_are_objects_and_undo_steps(session: Session) -> None:
    stroke = session.paint([10, 10, 10, 200], [5, 6, 6, 5], 2)
    assert stroke is not None
    assert (stroke.source, stroke.class_id, stroke.area_px, stroke.box) == ("brush", 2, 2, (10, 5, 11, 7))
    longer = session.paint([11, 12], [5, 5], 1, object_id=stroke.id)
    assert longer is not None
    assert (longer.id, longer.class_id, longer.area_px) == (stroke.id, 2, 4)
    assert session.paint([10, 50], [5, 50], 0) is None
    assert session.document.objects[stroke.id].area_px == 3
    assert session.paint([500], [3], 1) is None
    assert session.paint([], [], 1) is None
    assert session.paint([50], [50], 0) is None
    for expected in (4, 2):
        session.undo()
        assert session.document.objects[stroke.id].area_px == expected
    session.undo()
    assert session.document.objects == {}
    assert not session.undo()


def test_delete_and_reclassify(session: Session) -> None:
    signals = SignalRecorder().listen(session)
    first, second = commit_at(session, 30, 30), commit_at(session, 90, 60)
    signals.take()
    session.objects.reclassify((first,), 2)
    (emitted,) = signals.take()
    assert emitted == ("document_changed", session.document.objects[first].box)
    assert session.document.class_map[30, 30] == 2
    session.objects.delete((second,))
    assert set(session.document.objects) == {first}
    session.undo()
    session.undo()
    assert session.document.class_map[30, 30] == 1
    assert set(session.document.objects) == {first, second}
    assert [event[1] for event in signals.take() if event[0] == "message"] == [
        "Undid the deletion.",
        "Undid the change of class.",
    ]


@dataclass(frozen=True)
class Found:
    labels: np.ndarray
    confidence: np.ndarray
    classes: tuple[ClassInfo, ...]
    head: str = "cnn"


def found() -> Found:
    """Return a result with two glands (id 1), one in a corner, and a vessel (id 2) of 2 px."""
    labels = np.zeros(HW, dtype=np.uint8)
    labels[5:15, 5:15] = 1
    labels[15:18, 15:18] = 1
    labels[40:60, 50:90] = 1
    labels[70, 100:102] = 2
    confidence = np.full(HW, 0.5, dtype=np.float32)
    confidence[40:60, 50:70] = 0.75
    classes = (
        ClassInfo(0, "rest", (0, 0, 0)),
        ClassInfo(1, "GLAND", (9, 9, 9)),
        ClassInfo(2, "vessel", (8, 8, 8)),
    )
    return Found(labels, confidence, classes)


def test_segmentation_becomes_objects_in_one_step(tmp_path: Path) -> None:
    session = Session(picture(), "slide", None, CLASSES[::-1], tmp_path / "a.jsonl")
    made = session.proposals.add(found()).apply()
    assert [(obj.class_id, obj.area_px, obj.source, obj.model) for obj in made] == [
        (1, 109, "head", "cnn"),
        (1, 800, "head", "cnn"),
        (3, 2, "head", "cnn"),
    ]
    assert [obj.score for obj in made] == pytest.approx([0.5, 0.625, 0.5])
    assert [info.name for info in session.classes] == ["stroma", "gland", "vessel"]
    assert (session.document.class_map == np.array([0, 1, 3])[found().labels]).all()
    saved = digest(session)
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2
    assert session.undo()
    assert session.document.objects == {}
    assert not session.document.class_map.any()
    assert [info.name for info in session.classes] == ["stroma", "gland"]
    assert not session.undo()
    assert session.redo()
    assert digest(session) == saved
    session.close()
    assert digest(Session(picture(), "slide", journal=tmp_path / "a.jsonl")) == saved


def test_segmentation_filtered_in_a_worker(session: Session) -> None:
    components = from_segmentation(found(), ResultFilter(5))
    assert [obj.area_px for obj in session.proposals.add(components, "mine").apply()] == [109, 800]
    assert {obj.model for obj in session.document.objects.values()} == {"mine"}
    assert len(session.classes) == 2, "an unused class is not added"
    session.undo()
    assert len(session.proposals.add(from_segmentation(found(), ResultFilter(800))).apply()) == 1


def test_segmentation_overwrites_or_keeps_existing_objects(session: Session) -> None:
    rows, cols = np.mgrid[40:60, 40:60]
    mine = session.paint(rows, cols, 2)
    assert mine is not None
    session.proposals.add(found(), keep_existing=True).apply()
    assert session.document.objects[mine.id].area_px == 400
    assert (session.document.class_map[40:60, 40:60] == 2).all()
    assert (session.document.class_map[40:60, 60:90] == 1).all()
    session.undo()
    session.proposals.add(found()).apply()
    assert session.document.objects[mine.id].area_px == 200


def test_empty_segmentation_and_segmentation_of_another_size(session: Session) -> None:
    signals = SignalRecorder().listen(session)
    nothing = Found(np.zeros(HW, dtype=np.uint8), np.ones(HW, dtype=np.float32), CLASSES)
    assert session.proposals.add(nothing).apply() == []
    assert signals.take() == [("message", "Nothing was found, so nothing was added.")]
    small = Found(np.ones((9, 8), dtype=np.uint8), np.ones((9, 8), dtype=np.float32), CLASSES)
    with pytest.raises(ImageError, match=r"segmentation is 8 x 9 px, but the image is 128 x 96 px"):
        session.proposals.add(small).apply()
    assert not session.undo()


@pytest.mark.parametrize("formats", [("png",), ("tiff",), ("png", "tiff")])
def test_export_and_import(session: Session, tmp_path: Path, formats: tuple[str, ...]) -> None:
    commit_at(session, 30, 30)
    session.active_class = 2
    commit_at(session, 40, 36)
    commit_at(session, 100, 70)
    job = session.files.export_job(tmp_path, formats)
    session.paint([0], [0], 1)
    files = run(job)
    assert all(file.parent == tmp_path and file.stat().st_size > 0 for file in files)
    session.undo()
    other = Session(picture(), "slide", None, (ClassInfo(4, "Stroma", (5, 5, 5)),))
    Session(picture(), "another", disc_model()).files.export(tmp_path, formats)
    made = other.files.import_labels(tmp_path / "classes.json")
    mine_are = [(obj.source, obj.score, obj.model) for obj in session.document.objects.values()]
    assert [(obj.source, obj.score, obj.model) for obj in made] == mine_are
    assert len(made) == 3
    assert (other.document.instance_map == session.document.instance_map).all()
    names = {info.id: info.name.casefold() for info in other.classes}
    mine = {0: 0} | {
        info.id: next(k for k, name in names.items() if name == info.name) for info in session.classes
    }
    assert (other.document.class_map == np.vectorize(mine.get)(session.document.class_map)).all()
    assert other.undo()
    assert other.document.objects == {}
    assert not other.undo()
    with pytest.raises(ImageError, match=r"is 128 x 96 px, but the image is 100 x 90 px"):
        Session(picture((90, 100)), "slide").files.import_labels(tmp_path)


def recorded(tmp_path: Path) -> Session:
    """Return a session with an object of each kind of prompt, an unsure one and a merged one."""
    session = Session(picture(), "slide", disc_model(), CLASSES)
    session.prompts.add_point(30, 30)
    session.prompts.add_point(31, 33)
    session.prompts.add_point(60, 60, positive=False)
    settle(session)
    session.commit()
    session.prompts.set_box(70, 10, 90, 30.5)
    settle(session)
    boxed = session.commit()
    session.prompts.set_mask(LocalMask(60, 60, np.ones((9, 9), dtype=bool)))
    settle(session)
    session.commit()
    session.paint([90, 91], [4, 4], 2)
    session.mask_mode = "semantic"
    session.paint([91, 91, 91], [5, 6, 7], 2)
    prompt_at(session, 10, 84)
    session.active_class = 2
    joint = session.commit()
    assert boxed is not None
    assert joint is not None
    assert joint.modified is not None
    session.objects.flag((boxed.id,), "unsure")
    session.objects.flag((joint.id,), "reviewed")
    # Long ago, so that a newly created time differs.
    for obj in list(session.document.objects.values()):
        session.document.put(obj.id, replace(obj, created="2026-01-02T03:04:05.678+00:00"))
    return session


@pytest.mark.parametrize("word", ["png", "tiff", "coco", "coco-polygons", "geojson", "ome-zarr"])
def test_object_records_survive_export_and_import(tmp_path: Path, word: str) -> None:
    session = recorded(tmp_path)
    session.files.export(tmp_path / "out", (word,))
    other = Session(picture(), "slide", None, CLASSES, tmp_path / "other.jsonl")
    other.files.import_labels(tmp_path / "out")
    mine, theirs = (
        sorted(
            (replace(record, id=0, box=(0, 0, 0, 0)) for record in each.document.objects.values()),
            key=lambda record: record.area_px,
        )
        for each in (session, other)
    )
    assert theirs == mine
    assert {obj.source for obj in theirs} == {"point", "box", "mask"}
    other.close()
    again = Session(picture(), "slide", None, CLASSES, tmp_path / "other.jsonl")
    assert again.document.objects == other.document.objects, "the journal has it, too"
    again.close()


def test_prompts_are_exported_as_plain_json(tmp_path: Path) -> None:
    session = recorded(tmp_path)
    session.files.export(tmp_path, ("coco",))
    content = json.loads((tmp_path / "slide_objects.coco.json").read_text())
    pointed, boxed, masked, joint = (obj["sampath"] for obj in content["annotations"])
    assert pointed["prompts"] == {"points": [[30, 30, True], [31, 33, True], [60, 60, False]]}
    assert boxed["prompts"] == {"box": [70, 10, 90, 30.5]}
    assert masked["prompts"] == {"mask": True}
    assert joint["created"] == "2026-01-02T03:04:05.678+00:00"
    assert joint["modified"] > joint["created"]
    assert "modified" not in pointed
    session.files.save_to_dataset(tmp_path / "dataset")
    item = DatasetFolder.open(tmp_path / "dataset").read("slide")
    assert item.provenance["annotations"]["1"] == {k: v for k, v in pointed.items() if k != "number"}


def test_dataset_ids_match_its_maps(tmp_path: Path) -> None:
    """Ids keep growing, but the maps of a dataset have 16 bits."""
    session = recorded(tmp_path)
    session.document.next_id = 70_000
    session.prompts.add_point(100, 80)
    settle(session)
    made = session.commit()
    assert made is not None
    assert made.id == 70_000
    session.files.save_to_dataset(tmp_path)
    item = DatasetFolder.open(tmp_path).read("slide")
    assert item.instances is not None
    number = item.instances[80, 100]
    assert item.provenance["annotations"][str(number)]["prompts"] == {"points": [[100, 80, True]]}
    assert set(item.provenance["annotations"]) == set(map(str, np.unique(item.instances)[1:]))


@pytest.mark.parametrize(
    "fields",
    [
        {"prompts": "a click", "created": "yesterday", "modified": 7},
        {"prompts": {"points": [[1, 2]], "mask": True}, "created": None},
        {"prompts": {"points": [["x", 2, True]]}, "created": "2026-01-02T03:04:05", "model": 5},
        {"prompts": {"points": 7}, "created": ["2026"], "source": ["point"]},
        {"prompts": {"box": [1, 2, 3]}, "modified": "soon"},
        {"prompts": {"box": [1, 2, 3, "4"]}, "score": [1]},
        {"prompts": [1], "score": "high", "reviewed": "yes"},
        {"prompts": {"points": [], "box": None, "mask": False}},
    ],
)
def test_records_of_other_programs_are_read_where_valid(
    session: Session, tmp_path: Path, fields: dict[str, Any]
) -> None:
    file = tmp_path / "a.json"
    entry = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "segmentation": [[1, 1, 9, 1, 9, 9]],
        "sampath": fields,
    }
    image = {"id": 1, "file_name": "slide", "height": HW[0], "width": HW[1]}
    file.write_text(json.dumps({"images": [image], "categories": [{"id": 1}], "annotations": [entry]}))
    before = now()
    (made,) = session.files.import_labels(file)
    assert made.created >= before
    assert (made.source, made.score, made.prompts, made.modified) == ("import", None, {}, None)
    assert made.trust == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-01-02T03:04:05.678+00:00", "2026-01-02T03:04:05.678+00:00"),
        ("2026-01-02T05:04:05Z", "2026-01-02T05:04:05.000+00:00"),
        ("2026-01-02T05:04:05.123456+02:00", "2026-01-02T03:04:05.123+00:00"),
    ],
)
def test_imported_times_are_converted_to_utc(given: str, kept: str) -> None:
    piece = NewObject(1, LocalMask(1, 1, np.ones((2, 2), dtype=bool)), None, {"created": given})
    ((made, _),) = make_items(NewObjects((piece,), CLASSES), 1, int, "import", None, None, (4, 4))
    assert made.created == kept


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9), np.uint8),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((9, 9, 3)),
        np.zeros((0, 9, 3), np.uint8),
    ],
)
def test_images_must_be_rgb_uint8(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"give red, green and blue as \(H, W, 3\) uint8"):
        Session(image, "slide")


def test_redo_reverses_undo_of_prompts_and_changes(session: Session) -> None:
    session.paint([5], [5], 1)
    session.prompts.add_point(40, 30)
    session.paint([6], [6], 1)
    session.prompts.set_box(10, 10, 60, 60)

    def state() -> tuple[int, int, bool]:
        prompts = session.prompts.state
        return len(session.document.objects), len(prompts.points), prompts.box is not None

    states = [(2, 1, True), (2, 1, False), (1, 1, False), (1, 0, False), (0, 0, False)]
    assert state() == states[0]
    for expected in states[1:]:
        assert session.undo()
        assert state() == expected
    assert not session.undo()
    for expected in states[-2::-1]:
        assert session.redo()
        assert state() == expected
    assert not session.redo()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("point"), st.integers(0, 127), st.integers(0, 95)),
        st.tuples(st.just("box"), st.integers(0, 60), st.integers(0, 40)),
        st.sampled_from([("commit",), ("undo",), ("undo",), ("redo",), ("clear",), ("back",)]),
        st.tuples(st.just("paint"), st.integers(0, 95), st.integers(0, 127)),
        st.tuples(st.just("class"), st.integers(0, 99), st.just(0)),
    ),
    min_size=8,
    max_size=30,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_undo_reverts_the_newest_prompt_or_change(steps: list[tuple[Any, ...]]) -> None:
    session = Session(picture(), "slide", disc_model(), CLASSES)
    done: list[tuple[str, Any]] = []  # kind of step, and the state before it
    undone: list[tuple[str, Any]] = []

    def state(kind: str) -> Any:
        return (
            (session.prompts.state.points, session.prompts.state.box) if kind == "prompt" else digest(session)
        )

    def note(kind: str, before: Any) -> None:
        if state(kind) != before:
            done.append((kind, before))
            undone.clear()

    for step in steps:
        before = {kind: state(kind) for kind in ("prompt", "document")}
        match step:
            case ("point", x, y):
                session.prompts.add_point(x, y)
                done.append(("prompt", before["prompt"]))
                undone.clear()
            case ("box", x, y):
                session.prompts.set_box(x, y, x + 50, y + 50)
                done.append(("prompt", before["prompt"]))
                undone.clear()
            case ("commit",) if not session.prompts.state.empty:
                settle(session)
                session.commit()
                done[:] = [step for step in done if step[0] == "document"]
                note("document", before["document"])
            case ("clear",) if not session.prompts.state.empty:
                session.prompts.clear()
                done[:] = [step for step in done if step[0] == "document"]
                undone[:] = [step for step in undone if step[0] == "document"]
            case ("paint", row, col):
                session.paint([row], [col], 1)
                note("document", before["document"])
            case ("class", number, _) if session.classes.find(f"class {number}") is None:
                session.classes.add(f"class {number}")
                note("document", before["document"])
            case ("back",):
                newest = next((k for k in reversed(range(len(done))) if done[k][0] == "prompt"), None)
                assert session.prompts.remove_last() == (newest is not None)
                if newest is not None:
                    kind, past = done.pop(newest)
                    undone.append((kind, before[kind]))
                    assert state(kind) == past
            case ("undo",):
                assert session.undo() == bool(done)
                if done:
                    kind, past = done.pop()
                    undone.append((kind, before[kind]))
                    assert state(kind) == past
            case ("redo",):
                assert session.redo() == bool(undone)
                if undone:
                    kind, past = undone.pop()
                    done.append((kind, before[kind]))
                    assert state(kind) == past


def test_masks_of_a_real_model_are_the_prompted_components_of_predict() -> None:
    image = picture((300, 400))
    model = tiny_model()
    session = Session(image, "noise", model, CLASSES)
    assert run(session.prompts.encode_job()) == 1
    features = model.encode(image)

    def check(**prompt: Any) -> Any:
        """Compare with predict: masks that obey more points come first, and of four masks only the first is kept."""
        several = prompt.pop("multimask", True)
        sides = [False, True] if several is None else [several]
        found = [model.predict(features, **prompt, multimask=side) for side in sides]
        scores, expected = (
            np.concatenate([prediction.scores for prediction in found]),
            np.concatenate([prediction.logits for prediction in found]),
        )
        given = {name: value for name, value in prompt.items() if name in ("points", "labels", "box")}
        pointed = prompted_cells(features.frame, Prompts.make(**given))
        counts = satisfied_points(expected, Prompts.make(**given), features.frame)
        painted = "mask" in prompt and prompt["mask"].dtype == np.bool_  # not the logits that are fed back
        if painted:
            pointed |= mask_to_logits(prompt["mask"], features.frame) > 0
        order = np.lexsort((-scores, -counts))[: 1 if several is None else None]
        assert [candidate.score for candidate in session.prompts.candidates] == pytest.approx(
            scores[order].tolist(), abs=1e-5
        )
        points = np.array(prompt.get("points", ()), dtype=np.float64).reshape(-1, 2)
        first = int("box" not in prompt)
        labels = np.array(prompt.get("labels", [1] * len(points)))
        for candidate, k in zip(session.prompts.candidates, order, strict=True):
            followed = corrected(expected[k], points[first:], labels[first:], features.frame)
            wanted = local_mask(features.frame, keep_prompted(followed, pointed)).to_dense((300, 400))
            assert (candidate.mask.to_dense((300, 400)) == wanted).all()
            assert (local_mask(features.frame, followed).to_dense((300, 400)) | ~wanted).all()
            assert np.allclose(candidate.logits, expected[k], atol=1e-4), (
                "the logits of the model are fed back"
            )
        return expected[order]

    prompt_at(session, 150, 120)
    logits = check(points=[(150, 120)])
    session.prompts.next_candidate()
    session.prompts.add_point(60, 200, positive=False)
    settle(session)
    check(points=[(150, 120), (60, 200)], labels=[1, 0], mask=logits[1], multimask=None)
    assert len(session.prompts.candidates) == 1
    session.prompts.clear()
    session.prompts.set_box(100, 50, 350, 250)
    settle(session)
    check(box=(100, 50, 350, 250), multimask=False)
    session.prompts.clear()
    painted = np.zeros((300, 400), dtype=bool)
    painted[100:180, 90:260] = True
    session.prompts.set_mask(LocalMask.from_dense(painted))
    settle(session)
    check(mask=painted, points=[innermost(LocalMask(0, 0, painted))], multimask=False)
    candidate = session.prompts.candidate
    assert candidate is not None
    assert session.commit().area_px == candidate.mask.area_px
    assert (session.document.class_map.astype(bool) == candidate.mask.to_dense((300, 400))).all()


def test_a_journal_of_the_first_schema_is_read_undone_and_continued(tmp_path: Path) -> None:
    # Written by version 0.1 (commit b6c7937), with 13 steps that can be undone.
    path = tmp_path / "schema-1.jsonl"
    shutil.copy(JOURNALS / "schema-1.jsonl", path)
    expected = np.load(JOURNALS / "schema-1.npz")
    y, x = np.mgrid[:48, :64]
    image = np.stack([y * 5, x * 4, (x + y) * 2], axis=-1).astype(np.uint8)

    def assert_as_before(session: Session) -> None:
        assert session.notes == ()
        assert np.array_equal(session.document.class_map, expected["classes"])
        assert np.array_equal(session.document.instance_map, expected["instances"])
        assert np.array_equal(session.area.mask(), expected["verified"])

    session = Session(image, "tissue é", journal=path)
    assert_as_before(session)
    assert [info.name for info in session.classes] == ["gland", "connective tissue", "tumour µ"]
    points = session.document.objects[6]
    assert (points.source, points.score, points.model) == ("point", 0.9, "sampath-tiny")
    assert (points.prompts["labels"], points.made_by) == ([1], None)
    flags = {key: (record.reviewed, record.unsure) for key, record in session.document.objects.items()}
    assert flags == {key: (key in (1, 2, 4), False) for key in (1, 2, 4, 5, 6, 8)}
    for _ in range(13):
        assert session.undo()
    assert not session.undo()
    assert not session.document.objects
    for _ in range(13):
        assert session.redo()
    session.close()
    session = Session(image, "renamed", journal=path)
    assert_as_before(session)
    session.paint_mask(LocalMask(0, 0, np.ones((4, 4), bool), 4), 2)  # Needs schema 2.
    session.close()
    session = Session(image, "renamed", journal=path)
    assert (session.document.class_map[:16, :16] == 2).all()
    assert session.undo()
    assert_as_before(session)
    session.close()
