"""Previews, several boxes at once, and the connected components that a mask keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.tiny_sam import tiny_model

from napari_sampath.arrays import ClassInfo, LocalMask, Prompts
from napari_sampath.errors import PromptError
from napari_sampath.jobs import run
from napari_sampath.predict.decoder.mask_upscaling import keep_prompted, local_mask, prompted_cells
from napari_sampath.session import Session
from support.models.disc_model import DiscModel, disc_model

CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))
BOXES = ((10, 12, 40, 38), (60, 20, 90, 50), (30, 50, 70, 90))


def picture(hw: tuple[int, int] = (96, 128)) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (*hw, 3), dtype=np.uint8)


@pytest.fixture
def session() -> Session:
    return Session(picture(), "slide", tiny_model(), CLASSES)


def answer(session: Session) -> Any:
    request = session.prompts.request()
    assert request is not None
    result = session.prompts.answerer.answer(request)
    assert session.prompts.accept(result)
    return result


def test_a_preview_equals_the_answer_of_the_click_and_changes_nothing(session: Session) -> None:
    heard: list[Any] = []
    session.prompts_changed.connect(lambda: heard.append("prompts"))
    session.candidate_changed.connect(lambda *boxes: heard.append(boxes))
    assert session.prompts.preview(50, 60) is None, "a preview must not start the encoder"
    run(session.prompts.encode_job())
    request = session.prompts.preview(50, 60)
    assert request is not None
    shown = session.prompts.answerer.preview(request)
    assert not heard
    assert session.prompts.state.empty
    assert not session.prompts.accept(shown), "a preview does not answer a pending prompt"
    assert not session.undo(), "a preview is no step of undo"

    session.prompts.add_point(50, 60)
    clicked = answer(session)
    assert np.array_equal(shown.candidates[0].mask.bitmap, clicked.candidates[0].mask.bitmap)
    assert shown.candidates[0].box == clicked.candidates[0].box
    assert session.prompts.preview(20, 20) is None, "a prompt is pending"
    session.prompts.clear()
    assert session.prompts.preview(20, 20) is not None
    assert session.prompts.preview(-1, 20) is None
    assert session.prompts.preview(20, 97) is None


def test_a_click_reuses_the_newest_preview_of_its_position_and_model() -> None:
    model: Any = disc_model()
    session = Session(picture(), "slide", model, CLASSES)
    run(session.prompts.encode_job())

    def preview(x: float) -> Any:
        request = session.prompts.preview(x, 60)
        assert request is not None
        return session.prompts.answerer.preview(request)

    preview(20)
    shown = preview(50)
    decoded = len(model.asked)
    session.prompts.add_point(50, 60)
    assert answer(session).candidates is shown.candidates
    assert len(model.asked) == decoded
    session.prompts.add_point(60, 66)
    answer(session)
    assert len(model.asked) == decoded + 1, "a second click refines the first"
    session.prompts.clear()
    session.prompts.add_point(50, 60)
    answer(session)
    assert len(model.asked) == decoded + 2, "the preview belongs to an earlier prompt"
    session.prompts.clear()
    preview(50)
    other: Any = disc_model()
    session.model = other
    session.prompts.add_point(50, 60)
    answer(session)
    assert len(other.asked) == 1, "the preview is an answer of the previous model"


def test_previews_exist_only_on_encoded_tiles() -> None:
    model: Any = disc_model()
    session = Session(picture((1600, 3000)), "slide", model, CLASSES)
    run(session.prompts.encode_job((800, 500), ahead=1))
    encoded = list(model.encoded)
    assert session.prompts.preview(encoded[0].left + 500, encoded[0].top + 500) is not None
    assert session.prompts.preview(2900, 1500) is None
    assert model.encoded == encoded


def test_several_boxes_become_one_object_each_in_one_step(session: Session, tmp_path: Path) -> None:
    session = Session(picture(), "slide", tiny_model(), CLASSES, tmp_path / "journal.jsonl")
    model: Any = session.model
    for number, box in enumerate(BOXES):
        session.prompts.set_box(*box, further=number > 0)
    assert session.prompts.state.boxes == BOXES
    answer(session)
    (candidate,) = session.prompts.candidates
    features = model.encode(session.image)
    for box, member in zip(BOXES, candidate.members, strict=True):
        single = model.predict(features, box=box, multimask=False)
        pieces = keep_prompted(single.logits[0], prompted_cells(features.frame, Prompts.make(box=box)))
        assert np.array_equal(
            member.mask.to_dense(session.hw), local_mask(features.frame, pieces).to_dense(session.hw)
        )
        assert member.score == pytest.approx(float(single.scores[0]), abs=1e-4)
    whole = np.any([member.mask.to_dense(session.hw) for member in candidate.members], axis=0)
    assert np.array_equal(candidate.mask.to_dense(session.hw), whole)

    first = session.commit()
    assert first is not None
    objects = session.document.objects
    assert first is objects[1]
    assert [objects[k].prompts["box"] for k in sorted(objects)] == [list(box) for box in BOXES]  # type: ignore[index]
    taken = np.zeros(session.hw, dtype=bool)
    for number, member in enumerate(candidate.members, start=1):
        expected = member.mask.to_dense(session.hw) & ~taken
        assert np.array_equal(np.asarray(session.document.instance_map) == number, expected)
        taken |= expected
    assert session.undo()
    assert not session.document.objects
    assert session.redo()
    assert len(session.document.objects) == 3
    instances = np.asarray(session.document.instance_map)
    session.close()

    again = Session(picture(), "slide", None, CLASSES, tmp_path / "journal.jsonl")
    assert np.array_equal(np.asarray(again.document.instance_map), instances)
    again.close()


def test_several_boxes_are_removed_one_by_one(session: Session) -> None:
    for number, box in enumerate(BOXES):
        session.prompts.set_box(*box, further=number > 0)
    session.prompts.remove_last()
    assert session.prompts.state.boxes == BOXES[:2]
    session.redo()
    assert session.prompts.state.boxes == BOXES
    session.prompts.set_box(1, 2, 30, 40)
    assert session.prompts.state.boxes == ((1, 2, 30, 40),), "a box without Shift replaces them"


def test_several_boxes_exclude_other_prompts(session: Session) -> None:
    session.prompts.set_box(*BOXES[0], further=True)
    assert session.prompts.state.boxes == BOXES[:1], "the first of several boxes is an ordinary box"
    session.prompts.set_box(*BOXES[1], further=True)
    with pytest.raises(PromptError, match="The prompt has 2 boxes, one per object"):
        session.prompts.add_point(20, 20)
    session.prompts.remove_last()
    session.prompts.add_point(20, 20)
    with pytest.raises(PromptError, match="commit it first, then draw the boxes of the other objects"):
        session.prompts.set_box(*BOXES[1], further=True)
    assert session.prompts.state.boxes == BOXES[:1]


def test_several_boxes_become_one_region_in_semantic_mode(session: Session) -> None:
    session.mask_mode = "semantic"
    for box in BOXES:
        session.prompts.set_box(*box, further=True)
    answer(session)
    mask = session.prompts.candidate.mask.to_dense(session.hw)  # type: ignore[union-attr]
    session.commit()
    assert list(session.document.objects) == [1]
    assert np.array_equal(np.asarray(session.document.class_map) == 1, mask)


def test_several_boxes_keep_objects_under_them(session: Session) -> None:
    rows, cols = np.mgrid[0:96, 0:45]
    session.paint(rows.ravel(), cols.ravel(), 2)
    session.overlap = "keep"
    for box in BOXES:
        session.prompts.set_box(*box, further=True)
    answer(session)
    session.commit()
    assert np.array_equal(np.asarray(session.document.instance_map)[:, :45] == 1, np.ones((96, 45), bool))
    assert len(session.document.objects) > 1


class TwoDiscs(DiscModel):
    """Answers every prompt with two discs of radius 12 px, centred at (30, 30) and (90, 60)."""

    def decode(self, features: Any, prompts: Any, multimask: bool = True) -> Any:
        discs = [super(TwoDiscs, self).decode(features, Prompts.make([xy])) for xy in ((30, 30), (90, 60))]
        return np.max([logits[1:2] for logits, _ in discs], axis=0), np.array([0.9], dtype=np.float32)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (lambda s: s.prompts.add_point(31, 27), (True, False)),
        (lambda s: s.prompts.add_point(92, 63), (False, True)),
        (lambda s: (s.prompts.add_point(31, 27), s.prompts.add_point(92, 63)), (True, True)),
        (lambda s: (s.prompts.add_point(31, 27), s.prompts.add_point(92, 63, positive=False)), (True, False)),
        (lambda s: s.prompts.add_point(60, 10), (True, True)),
        (lambda s: s.prompts.set_box(80, 50, 100, 70), (False, True)),
        (lambda s: s.prompts.set_box(10, 10, 120, 90), (True, True)),
        (lambda s: s.prompts.set_mask(LocalMask(50, 80, np.ones((20, 10), bool))), (False, True)),
    ],
)
def test_a_mask_keeps_only_the_components_under_the_prompt(prompt: Any, expected: tuple[bool, bool]) -> None:
    """Models leave specks on other objects, which the user would have to erase."""
    model: Any = TwoDiscs()
    session = Session(picture(), "slide", model, CLASSES)
    prompt(session)
    (candidate,) = answer(session).candidates
    mask = candidate.mask.to_dense(session.hw)
    assert (mask[30, 30], mask[60, 90]) == expected
    assert mask.sum() == pytest.approx(sum(expected) * np.pi * 12**2, rel=0.05)


def test_a_painted_mask_still_counts_after_a_correction() -> None:
    model: Any = TwoDiscs()
    session = Session(picture(), "slide", model, CLASSES)
    session.prompts.set_mask(LocalMask(20, 20, np.ones((50, 80), bool)))
    answer(session)
    session.prompts.add_point(31, 27)
    (candidate,) = answer(session).candidates
    assert candidate.mask.to_dense(session.hw)[[30, 60], [30, 90]].all()
    session.prompts.clear()
    session.prompts.add_point(31, 27)
    answer(session)
    session.prompts.add_point(29, 33)
    (candidate,) = answer(session).candidates
    assert candidate.mask.to_dense(session.hw)[[30, 60], [30, 90]].tolist() == [True, False]


def test_a_component_without_a_pixel_under_the_click_leaves_the_mask_unfiltered() -> None:
    class Speck(TwoDiscs):
        def decode(self, features: Any, prompts: Any, multimask: bool = True) -> Any:
            logits, scores = super().decode(features, prompts)
            logits[0, 20, 120] = 0.01
            return logits, scores

    model: Any = Speck()
    session = Session(picture(), "slide", model, CLASSES)
    session.prompts.add_point(60.25, 10.25)
    (candidate,) = answer(session).candidates
    assert candidate.prompted_cells[20, 120]
    assert candidate.mask.to_dense(session.hw)[[30, 60], [30, 90]].all()
