"""Objects, classes, overlaps and the verified area of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sampath.annotations import AnnotatedObject
from napari_sampath.annotations.masks import shaping
from napari_sampath.annotations.model.annotated_object import TRUSTED
from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.errors import ClassListError, PromptError, UnknownNameError
from napari_sampath.session import NewObjects, Overlap, Session, name_overlap
from napari_sampath.session.objects.overlap import refine as refine_operation
from napari_sampath.session.proposals.new_objects import NewObject
from support.models.disc_model import disc_model
from support.programs.journal_victim import commit_at, digest, prompt_at

if TYPE_CHECKING:
    from pathlib import Path

HW = (96, 128)
CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))


def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (*HW, 3), dtype=np.uint8)


@pytest.fixture
def session() -> Session:
    return Session(picture(), "slide", disc_model(), CLASSES)


def block(row: int, col: int, height: int, width: int) -> LocalMask:
    return LocalMask(row, col, np.ones((height, width), dtype=bool))


def paint(session: Session, mask: LocalMask, class_id: int = 1) -> int:
    rows, cols = np.nonzero(mask.bitmap)
    made = session.paint(rows + mask.row, cols + mask.col, class_id)
    assert made is not None
    return made.id


def dense(session: Session) -> np.ndarray:
    return np.asarray(session.document.instance_map)


def goes_back_and_forth(session: Session, before: str) -> None:
    after = digest(session)
    assert after != before
    session.undo()
    assert digest(session) == before
    session.redo()
    assert digest(session) == after


# Overlaps


def test_overlap_rules_overwrite_keep_and_ask(session: Session) -> None:
    first = commit_at(session, 40, 40)
    whole = session.document.objects[first].area_px
    signals: list[Overlap] = []
    session.overlap_found.connect(signals.append)
    session.overlap = "ask"
    prompt_at(session, 50, 40)
    candidate = session.prompts.candidate
    assert candidate is not None
    before = digest(session)
    assert session.commit() is None
    assert digest(session) == before
    assert session.prompts.candidate is candidate, "waits for the answer"
    (overlap,) = signals
    under = int((candidate.mask.to_dense(HW) & (dense(session) == first)).sum())
    assert (overlap.pixels, overlap.swallowed) == ({first: under}, ())
    assert f"covers {under} px of 1 object; overwrite" in overlap.sentence
    kept = session.commit("keep")
    assert kept is not None
    assert kept.area_px == candidate.mask.area_px - under
    assert session.document.objects[first].area_px == whole
    session.undo()
    prompt_at(session, 50, 40)
    session.overlap = "overwrite"
    assert session.commit() is not None
    assert session.document.objects[first].area_px == whole - under


def test_covered_objects_are_reported_and_a_mask_without_free_pixels_is_refused(session: Session) -> None:
    small = paint(session, block(38, 38, 3, 3))
    session.overlap = "ask"
    signals: list[Overlap] = []
    session.overlap_found.connect(signals.append)
    prompt_at(session, 40, 40)
    session.commit()
    assert signals[0].swallowed == (small,)
    paint(session, block(0, 0, 96, 128))
    with pytest.raises(PromptError, match="covers only pixels of other objects"):
        session.commit("keep")
    assert session.prompts.candidate is not None


def test_strokes_obey_the_keep_rule(session: Session) -> None:
    first = paint(session, block(10, 10, 10, 10))
    session.overlap = "keep"
    second = paint(session, block(15, 15, 10, 10), 2)
    assert session.document.objects[first].area_px == 100
    assert session.document.objects[second].area_px == 75


def test_semantic_mode_merges_touching_objects(session: Session) -> None:
    session.mask_mode = "semantic"
    left, right = paint(session, block(10, 10, 5, 5)), paint(session, block(10, 30, 5, 5))
    other = paint(session, block(20, 15, 5, 5), 2)
    assert len({left, right, other}) == 3
    before = digest(session)
    bridge = paint(session, block(15, 15, 2, 15))
    assert bridge == left, "objects that touch at a corner are merged"
    assert set(session.document.objects) == {left, other}
    assert session.document.objects[left].area_px == 25 + 25 + 30
    goes_back_and_forth(session, before)
    session.objects.delete((other,))
    session.overlap = "ask"
    signals: list[Any] = []
    session.overlap_found.connect(signals.append)
    prompt_at(session, 12, 12)
    assert session.commit() is not None, "its own region is not reported"
    assert not signals


def journalled(tmp_path: Path) -> Session:
    return Session(picture(), "slide", disc_model(), CLASSES, tmp_path / "a.jsonl")


def reopened(session: Session, tmp_path: Path) -> dict[int, AnnotatedObject]:
    """Reopen a session from its journal."""
    session.close()
    again = journalled(tmp_path)
    found = dict(again.document.objects)
    again.close()
    return found


def test_merged_region_has_the_record_of_its_largest_part(tmp_path: Path) -> None:
    session = journalled(tmp_path)
    session.mask_mode = "semantic"
    small = paint(session, block(40, 26, 4, 4))
    before = session.document.record(small)
    prompt_at(session, 40, 40)
    made = session.commit()
    assert made is not None
    assert (made.id, made.source, made.model) == (small, "point", session.model and session.model.name)
    assert made.prompts["points"] == [[40.0, 40.0]]
    assert made.score is None, "the score was predicted for the disc alone"
    assert (made.created, before.modified) == (before.created, None)
    assert made.modified is not None
    session.undo()
    assert session.document.record(small) == before
    session.redo()
    paint(session, block(40, 52, 2, 6))
    assert session.document.record(small).source == "point", "a small stroke does not change the source"
    assert session.document.record(small).modified == made.modified
    records = dict(session.document.objects)
    assert reopened(session, tmp_path) == records


def test_score_is_dropped_when_the_region_grows(session: Session) -> None:
    session.mask_mode = "semantic"
    prompt_at(session, 40, 40)
    made = session.commit()
    assert made is not None
    assert made.score is not None
    before = digest(session)
    paint(session, block(40, 40, 2, 2))
    assert digest(session) == before, "nothing has changed"
    paint(session, block(40, 52, 2, 6))
    assert session.document.record(made.id).score is None
    session.undo()
    assert session.document.record(made.id) == made
    session.undo()
    tiny = paint(session, block(40, 40, 2, 2))
    prompt_at(session, 40, 40)
    again = session.commit()
    assert again is not None
    assert (again.id, again.score) == (tiny, made.score), "the mask covers all of it"


def test_region_of_a_reviewed_proposal_stays_reviewed(session: Session) -> None:
    session.mask_mode = "semantic"
    small = paint(session, block(30, 15, 4, 5))
    (proposed,) = session.proposals.replace(
        NewObjects((NewObject(1, block(30, 30, 20, 20), 0.6),), CLASSES, "head")
    ).apply()
    session.objects.flag((proposed.id,), "reviewed")
    assert paint(session, block(30, 20, 4, 10)) == small
    record = session.document.record(small)
    assert (record.source, record.model, record.score, record.trust) == ("head", "head", None, TRUSTED)


# Objects refined by prompts


@pytest.mark.parametrize("again", [block(30, 30, 10, 10), block(32, 32, 4, 4), block(25, 30, 20, 10)])
def test_refinement_replaces_the_record(tmp_path: Path, again: LocalMask) -> None:
    session = journalled(tmp_path)
    (proposed,) = session.proposals.replace(
        NewObjects((NewObject(2, block(30, 30, 10, 10), 0.6),), CLASSES, "head")
    ).apply()
    session.objects.flag((proposed.id,), "unsure")
    session.objects.flag((proposed.id,), "unsure", False)
    before = session.document.record(proposed.id)
    refinement = AnnotatedObject(99, 1, "mask", 0.8, "discs", {"mask": True})
    session._editor.do(
        refine_operation(session.document, proposed.id, again, "overwrite", "instance", refinement)
    )
    record = session.document.record(proposed.id)
    assert (record.id, record.class_id, record.created) == (proposed.id, 2, before.created)
    assert (record.source, record.score, record.model, record.prompts) == (
        "mask",
        0.8,
        "discs",
        {"mask": True},
    )
    assert (record.reviewed, record.area_px) == (True, again.area_px)
    assert record.modified is not None
    session.undo()
    assert session.document.record(proposed.id) == before
    session.redo()
    records = dict(session.document.objects)
    assert records[proposed.id] == record
    assert reopened(session, tmp_path) == records


def test_commit_of_a_refinement_replaces_the_record(tmp_path: Path) -> None:
    session = journalled(tmp_path)
    prompt_at(session, 40, 40)
    first = session.commit()
    assert first is not None
    session.prompts.set_object(first.id)
    prompt_at(session, 46, 40)
    assert session.prompts.candidate is not None
    score = session.prompts.candidate.score
    refined = session.commit()
    assert refined is not None
    assert (refined.id, refined.created, refined.score) == (first.id, first.created, score)
    assert (refined.source, refined.prompts["points"], refined.prompts["mask"]) == ("mask", [[46, 40]], True)
    assert refined.modified is not None
    session.undo()
    assert session.document.record(first.id) == first
    session.redo()
    records = dict(session.document.objects)
    assert reopened(session, tmp_path) == records == {first.id: refined}


def test_refinement_that_merges_objects_has_no_score(session: Session) -> None:
    object_id, other = paint(session, block(30, 30, 10, 10)), paint(session, block(30, 50, 10, 10))
    refinement = AnnotatedObject(99, 1, "point", 0.8, "discs", {"points": [[35, 35]], "labels": [1]})
    wide = block(30, 30, 10, 22)
    session._editor.do(
        refine_operation(session.document, object_id, wide, "overwrite", "semantic", refinement)
    )
    assert set(session.document.objects) == {object_id}
    record = session.document.record(object_id)
    assert (record.source, record.score, record.area_px) == ("point", None, 300)
    session.undo()
    session.objects.flag((object_id,), "unsure")
    session._editor.do(
        refine_operation(session.document, object_id, wide, "overwrite", "semantic", refinement)
    )
    assert session.document.record(other).area_px == 80
    record = session.document.record(object_id)
    assert (record.score, record.unsure, record.reviewed) == (0.8, True, False)


def refine(session: Session, object_id: int) -> LocalMask:
    """Set an object as mask prompt and accept the answer: a disc of 12 px at its centre."""
    session.prompts.set_object(object_id)
    request = session.prompts.request()
    assert request is not None
    assert session.prompts.accept(session.prompts.answerer.answer(request))
    assert session.prompts.candidate is not None
    return session.prompts.candidate.mask


def test_refinement_replaces_the_pixels(session: Session) -> None:
    (proposed,) = session.proposals.replace(
        NewObjects((NewObject(2, block(20, 20, 40, 40), 0.6),), CLASSES, "head")
    ).apply()
    neighbour = paint(session, block(30, 60, 20, 20))
    before = digest(session)
    mask = refine(session, proposed.id).to_dense(HW)
    made = session.commit()
    assert made is not None
    assert (made.id, made.class_id, made.reviewed, made.source) == (proposed.id, 2, True, "mask")
    np.testing.assert_array_equal(dense(session) == made.id, mask)
    assert set(session.document.objects) == {made.id, neighbour}
    assert session.prompts.state.empty
    goes_back_and_forth(session, before)
    session.proposals.replace(
        NewObjects((NewObject(2, block(20, 20, 40, 40), 0.6),), CLASSES, "newer")
    ).apply()
    assert set(session.document.objects) == {made.id, neighbour}, "nothing is proposed where it was removed"


@pytest.mark.parametrize("mode", ["instance", "semantic"])
def test_overlap_rules_apply_to_refinements(session: Session, mode: Any) -> None:
    """The rules apply to pixels of other objects, not to its own."""
    object_id = paint(session, block(30, 30, 10, 10))
    other = paint(session, block(44, 30, 10, 10), 2)
    session.mask_mode, session.overlap = mode, "ask"
    signals: list[Overlap] = []
    session.overlap_found.connect(signals.append)
    mask = refine(session, object_id).to_dense(HW)
    under = mask & (dense(session) == other)
    assert session.commit() is None
    assert signals[0].pixels == {other: under.sum()}
    assert session.commit("keep") is not None
    np.testing.assert_array_equal(dense(session) == object_id, mask & ~under)
    session.undo()
    session.overlap = "overwrite"
    refine(session, object_id)
    session.commit()
    np.testing.assert_array_equal(dense(session) == object_id, mask)
    assert session.document.objects[other].area_px == 100 - under.sum()


def test_refined_region_merges_with_regions_it_touches(session: Session) -> None:
    session.mask_mode = "semantic"
    other, object_id = paint(session, block(44, 30, 10, 10)), paint(session, block(30, 30, 10, 10))
    mask = refine(session, object_id).to_dense(HW) | (dense(session) == other)
    session.commit()
    assert set(session.document.objects) == {object_id}
    np.testing.assert_array_equal(dense(session) == object_id, mask)
    session.undo()
    session.objects.flag((object_id,), "unsure")
    refine(session, object_id)
    session.commit("keep")
    assert session.document.objects[other].area_px == 100, "an unsure region is not merged"


def test_refining_a_deleted_object_or_a_new_scribble_adds_an_object(session: Session) -> None:
    object_id = paint(session, block(30, 30, 10, 10), 2)
    refine(session, object_id)
    session.objects.delete((object_id,))
    made = session.commit()
    assert made is not None
    assert (made.id, made.class_id) == (object_id + 1, 1)
    session.prompts.set_object(made.id)
    session.prompts.set_mask(block(60, 60, 9, 9))
    request = session.prompts.request()
    assert request is not None
    session.prompts.accept(session.prompts.answerer.answer(request))
    assert session.commit() is not None
    assert len(session.document.objects) == 2
    session.prompts.set_object(made.id)
    session.prompts.set_mask(block(60, 60, 9, 9))
    session.prompts.remove_last()
    request = session.prompts.request()
    assert request is not None
    session.prompts.accept(session.prompts.answerer.answer(request))
    again = session.commit()
    assert again is not None
    assert again.id == made.id, "the scribble was undone"
    with pytest.raises(UnknownNameError, match="no object 99"):
        session.prompts.set_object(99)


# Strokes


def stroke(session: Session, mask: LocalMask, start_rc: tuple[int, int], class_id: int = 1) -> int:
    rows, cols = np.nonzero(mask.bitmap)
    made = session.paint(rows + mask.row, cols + mask.col, class_id, start_rc=start_rc)
    assert made is not None
    return made.id


def test_stroke_that_starts_on_an_object_of_its_class_extends_it(session: Session) -> None:
    object_id, other = paint(session, block(10, 10, 10, 10)), paint(session, block(40, 10, 10, 10), 2)
    before = digest(session)
    signals: list[str] = []
    session.message.connect(signals.append)
    assert stroke(session, block(20, 10, 5, 10), (19, 15)) == object_id
    assert session.document.objects[object_id].area_px == 150
    goes_back_and_forth(session, before)
    assert signals == ["Undid the brush stroke.", "Redid the brush stroke."]
    beside = stroke(session, block(25, 10, 2, 10), (25, 15))
    assert beside not in (object_id, other), (
        "a stroke that starts elsewhere is a new object even if it touches"
    )
    assert stroke(session, block(50, 10, 5, 10), (45, 15)) not in (object_id, other, beside), "another class"
    assert stroke(session, block(50, 60, 5, 10), (-1, 500)) > beside, (
        "a stroke may begin outside of the image"
    )
    session.overlap = "keep"
    assert stroke(session, block(5, 15, 40, 3), (12, 16)) == object_id
    assert session.document.objects[other].area_px == 100


def test_stroke_marks_an_extended_proposal_as_reviewed(session: Session) -> None:
    head = NewObjects((NewObject(1, block(20, 20, 10, 10), 0.6),), CLASSES, "head")
    (proposed,) = session.proposals.replace(head).apply()
    before = digest(session)
    assert stroke(session, block(30, 20, 5, 10), (25, 25)) == proposed.id
    assert session.document.objects[proposed.id].reviewed
    goes_back_and_forth(session, before)
    session.proposals.replace(head).apply()
    assert session.document.objects[proposed.id].area_px == 150


def test_strokes_do_not_merge_with_unsure_regions(session: Session) -> None:
    session.mask_mode = "semantic"
    unsure = paint(session, block(10, 10, 10, 10))
    session.objects.flag((unsure,), "unsure")
    assert stroke(session, block(20, 10, 5, 10), (15, 15)) != unsure
    assert session.area.mask().sum() == 50
    session.overlap = "ask"
    signals: list[Overlap] = []
    session.overlap_found.connect(signals.append)
    prompt_at(session, 12, 12)
    assert session.commit() is None
    assert set(signals[0].pixels) == {unsure}, "objects that are not merged are reported"


# Objects


def test_object_at_a_pixel(session: Session) -> None:
    object_id = paint(session, block(10, 10, 5, 5))
    assert [session.document.object_at(*pixel) for pixel in ((12, 12), (50, 50), (-1, 500))] == [
        object_id,
        0,
        0,
    ]


def test_split_by_components_and_by_a_line(session: Session) -> None:
    bitmap = np.zeros((10, 30), dtype=bool)
    bitmap[:, :8], bitmap[:, 20:] = True, True
    object_id = paint(session, LocalMask(5, 5, bitmap))
    before = digest(session)
    large, small = session.objects.split_components(object_id)
    assert (large.id, large.area_px, small.area_px) == (object_id, 100, 80)
    assert (small.class_id, small.source) == (1, "brush")
    goes_back_and_forth(session, before)
    with pytest.raises(PromptError, match="has one connected component"):
        session.objects.split_components(object_id)
    upper, lower = session.objects.split_line(object_id, (0, 9), (60, 9))
    assert {upper.area_px, lower.area_px} == {40, 60}
    assert upper.id == object_id
    assert (dense(session)[9:15, 25:35] == object_id).all()
    with pytest.raises(PromptError, match="lies on one side of the line"):
        session.objects.split_line(object_id, (0, 0), (60, 0))


def test_merge(session: Session) -> None:
    ids = [paint(session, block(10, col, 5, 5), class_id) for col, class_id in ((10, 2), (30, 1), (50, 1))]
    before = digest(session)
    merged = session.objects.merge(ids)
    assert (merged.id, merged.class_id, merged.area_px) == (ids[0], 2, 75)
    assert set(session.document.objects) == {ids[0]}
    goes_back_and_forth(session, before)
    with pytest.raises(PromptError, match="at least two"):
        session.objects.merge(ids[:1])


def test_merge_keeps_the_record_of_the_largest(session: Session) -> None:
    small = paint(session, block(10, 10, 5, 5), 2)
    large = commit_at(session, 60, 50)
    before, clicked = session.document.record(small), session.document.record(large)
    merged = session.objects.merge((small, large))
    assert (merged.id, merged.class_id, merged.created) == (small, 2, before.created)
    assert (merged.source, merged.prompts, merged.model) == ("point", clicked.prompts, clicked.model)
    assert (clicked.score is not None, merged.score, merged.trust) == (True, None, TRUSTED)
    session.undo()
    assert [session.document.record(object_id) for object_id in (small, large)] == [before, clicked]
    (proposed,) = session.proposals.replace(
        NewObjects((NewObject(1, block(0, 90, 30, 30), 0.6),), CLASSES, "head")
    ).apply()
    merged = session.objects.merge((small, proposed.id))
    assert (merged.source, merged.model, merged.score, merged.reviewed) == ("head", "head", None, True)


def test_grow_shrink_fill_smooth(session: Session) -> None:
    ring = np.ones((20, 20), dtype=bool)
    ring[8:12, 8:12] = False
    object_id = paint(session, LocalMask(20, 20, ring))
    neighbour = paint(session, block(20, 42, 20, 5), 2)
    before = digest(session)
    assert session.objects.fill_holes(object_id).area_px == 400
    goes_back_and_forth(session, before)
    grown = session.objects.grow(object_id, 3)
    assert session.document.objects[neighbour].area_px == 100
    expected = np.pad(np.ones((20, 20), dtype=bool), 3)
    rows, cols = np.mgrid[-3:23, -3:23]
    gaps = np.hypot(np.maximum(np.maximum(-rows, rows - 19), 0), np.maximum(np.maximum(-cols, cols - 19), 0))
    expected = gaps <= 3
    expected[3:23, 25:] = False  # pixels of the neighbour
    np.testing.assert_array_equal(dense(session)[17:43, 17:43] == object_id, expected)
    assert grown.area_px == expected.sum()
    session.undo()
    shrunk = session.objects.shrink(object_id, 2)
    assert shrunk.area_px == 16 * 16
    with pytest.raises(PromptError, match="would have no pixels left"):
        session.objects.shrink(object_id, 50)
    spike = paint(session, block(60, 20, 1, 30))
    session.paint(*np.nonzero(block(55, 20, 1, 1).to_dense(HW)), 1)
    with pytest.raises(PromptError, match="would have no pixels left"):
        session.objects.smooth(spike, 4)
    square = paint(session, block(60, 60, 20, 20))
    smooth = session.objects.smooth(square, 4)
    assert 400 - 40 < smooth.area_px < 400
    assert dense(session)[60, 60] == 0, "the corner is rounded off"
    assert dense(session)[60, 70] == square, "the side is not"


def test_split_parts_cover_the_object_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = LocalMask(3, 4, rng.random((15, 17)) < 0.7)
        parts = shaping.split(mask, tuple(rng.uniform(0, 20, 2)), tuple(rng.uniform(0, 20, 2)))
        total = sum(part.to_dense((30, 30)).astype(int) for part in parts)
        np.testing.assert_array_equal(total, mask.to_dense((30, 30)))


def test_marks_and_the_table(session: Session) -> None:
    big, small = paint(session, block(10, 10, 20, 20)), paint(session, block(50, 50, 5, 5), 2)
    clicked = commit_at(session, 100, 70)
    before = digest(session)
    session.objects.flag((big, clicked), "reviewed")
    goes_back_and_forth(session, before)
    session.objects.flag((small,), "unsure")
    rows = session.objects.rows("area_px", descending=True)
    assert [row.id for row in rows] == [clicked, big, small] or [row.id for row in rows] == [
        big,
        clicked,
        small,
    ]
    assert [row.area_px for row in rows] == sorted((row.area_px for row in rows), reverse=True)
    assert [row.id for row in session.objects.rows("score")] == [clicked, big, small], "no score comes last"
    assert [row.id for row in session.objects.rows("score", descending=True)] == [clicked, big, small]
    assert [row.class_name for row in session.objects.rows("class_name")] == ["gland", "gland", "stroma"]
    (row,) = session.objects.rows(only=lambda row: row.unsure)
    assert (row.id, row.centre_rc, row.source) == (small, (52.5, 52.5), "brush")
    with pytest.raises(UnknownNameError):
        session.objects.flag((99,), "unsure")


# Classes


def test_merging_and_deleting_classes_report_their_objects(session: Session) -> None:
    ids = [paint(session, block(10, col, 5, 5), class_id) for col, class_id in ((10, 2), (30, 1), (50, 2))]
    assert session.class_tools.use(2).ids == (ids[0], ids[2])
    assert session.class_tools.use(2).area_px == 50
    with pytest.raises(ClassListError, match="with itself"):
        session.class_tools.merge(2, 2)
    before = digest(session)
    session.class_tools.merge(2, 1)
    assert [info.id for info in session.classes] == [1]
    assert (np.asarray(session.document.class_map)[10, [12, 32, 52]] == 1).all()
    goes_back_and_forth(session, before)
    session.undo()
    session.active_class = 2
    session.class_tools.delete(2)
    assert set(session.document.objects) == {ids[1]}
    assert session.active_class == 1
    session.undo()
    assert digest(session) == before


# The verified area and proposals of heads


def test_made_reviewed_erased_and_marked_pixels_are_verified(session: Session) -> None:
    mine = paint(session, block(10, 10, 5, 5))
    pieces = (NewObject(1, block(40, 40, 10, 10), 0.6), NewObject(2, block(60, 60, 4, 4), 0.6))
    head = NewObjects(pieces, CLASSES, "head")
    first, second = session.proposals.replace(head).apply()
    expected = np.zeros(HW, dtype=bool)
    expected[10:15, 10:15] = True
    np.testing.assert_array_equal(session.area.mask(), expected)
    session.objects.flag((mine,), "unsure")
    assert not session.area.mask().any()
    session.objects.flag((mine,), "unsure", False)
    session.objects.reclassify((first.id,), 2)
    expected[40:50, 40:50] = True
    np.testing.assert_array_equal(session.area.mask(), expected)
    assert session.document.objects[first.id].reviewed, "changing the class counts as review"
    session.paint(*np.nonzero(block(58, 58, 4, 4).to_dense(HW)), 0)
    expected[60:62, 60:62] = True
    np.testing.assert_array_equal(session.area.mask(), expected)
    before = digest(session)
    assert session.area.complete((55, 55, 70, 200)) == (second.id,)
    expected[55:70, 55:] = True
    np.testing.assert_array_equal(session.area.mask(), expected)
    session.undo()
    assert digest(session) == before
    with pytest.raises(PromptError, match="no pixels in the image"):
        session.area.mark((200, 200, 210, 210))


def test_newer_proposals_replace_older_ones_but_no_corrections(session: Session) -> None:
    mine = paint(session, block(10, 10, 5, 5), 2)
    old = NewObjects(
        (NewObject(1, block(40, 40, 10, 10), 0.6), NewObject(1, block(5, 5, 20, 20), 0.7)), CLASSES, "old"
    )
    agreed, around = session.proposals.replace(old).apply()
    assert session.document.objects[mine].area_px == 25
    session.objects.flag((agreed.id,), "reviewed")
    session.area.mark((70, 70, 80, 80))
    before = digest(session)
    whole = NewObjects((NewObject(2, block(0, 0, *HW), 0.9),), CLASSES, "new")
    (new,) = session.proposals.replace(whole).apply()
    assert around.id not in session.document.objects
    assert session.document.objects[agreed.id].area_px == 100
    assert new.area_px == HW[0] * HW[1] - 25 - 100 - 100
    assert new.model == "new"
    goes_back_and_forth(session, before)
    assert not session.proposals.replace(NewObjects((), (), "none")).apply()
    assert set(session.document.objects) == {mine, agreed.id}, "earlier proposals are replaced"


def test_newer_proposals_keep_older_ones_in_a_complete_area(session: Session) -> None:
    """One object of the complete area extends beyond it."""
    old = NewObjects(
        (NewObject(1, block(20, 20, 30, 40), 0.6), NewObject(1, block(80, 80, 4, 4), 0.6)), CLASSES, "old"
    )
    crossing, outside = session.proposals.replace(old).apply()
    session.area.complete((0, 0, 60, 40))
    before = digest(session)
    session.proposals.replace(NewObjects((NewObject(2, block(25, 25, 40, 60), 0.9),), CLASSES, "new")).apply()
    classes = np.asarray(session.document.class_map)
    assert (classes[20:50, 20:40] == 1).all(), "the area did not change"
    assert (classes[25:50, 40:60] == 2).all()
    assert not classes[20:25, 40:60].any()
    assert session.document.objects[crossing.id].area_px == 30 * 20
    assert outside.id not in session.document.objects
    goes_back_and_forth(session, before)


def test_painted_pixels_are_not_merged_with_a_proposal(session: Session) -> None:
    """If they were merged in semantic mode, the next proposal would replace both."""
    session.mask_mode = "semantic"
    (proposed,) = session.proposals.replace(
        NewObjects((NewObject(1, block(20, 20, 10, 10), 0.6),), CLASSES, "head")
    ).apply()
    mine = paint(session, block(30, 20, 5, 10))
    assert mine != proposed.id
    session.proposals.replace(NewObjects((), (), "newer")).apply()
    assert set(session.document.objects) == {mine}
    assert session.area.mask().sum() == 50


def test_deleted_proposals_become_verified_background(session: Session) -> None:
    pieces = (NewObject(1, block(20, 20, 10, 10), 0.6), NewObject(1, block(50, 50, 10, 10), 0.6))
    head = NewObjects(pieces, CLASSES, "head")
    wrong, right = session.proposals.replace(head).apply()
    mine = paint(session, block(80, 80, 5, 5))
    before = digest(session)
    session.objects.delete((wrong.id, mine))
    goes_back_and_forth(session, before)
    nothing = np.zeros(HW, dtype=bool)
    nothing[20:30, 20:30] = nothing[80:85, 80:85] = True
    np.testing.assert_array_equal(session.area.mask(), nothing)
    (again,) = session.proposals.replace(head).apply()
    assert again.box == right.box
    assert not np.asarray(session.document.class_map)[nothing].any()


@pytest.mark.parametrize("way", ["grow", "shrink", "smooth", "fill", "line", "pieces"])
def test_reshaped_and_split_proposals_are_kept(session: Session, way: str) -> None:
    """Newer proposals change neither the object nor the pixels removed from it."""
    ring = np.pad(np.zeros((4, 4), dtype=bool), 8, constant_values=True)
    if way == "pieces":
        ring[:, 14:16] = False
    head = NewObjects((NewObject(1, LocalMask(20, 20, ring), 0.6),), CLASSES, "head")
    (made,) = session.proposals.add(head).apply()
    object_id, objects, before = made.id, session.objects, digest(session)
    assert made.trust == 0
    match way:
        case "grow":
            objects.grow(object_id, 3)
        case "shrink":
            objects.shrink(object_id, 2)
        case "smooth":
            objects.smooth(object_id, 4)
        case "fill":
            objects.fill_holes(object_id)
        case "line":
            objects.split_line(object_id, (0, 30), (60, 30))
        case "pieces":
            objects.split_components(object_id)
    goes_back_and_forth(session, before)
    after = digest(session)
    assert all(obj.reviewed for obj in session.document.objects.values())
    session.proposals.replace(head).apply()
    assert digest(session) == after


def test_deleting_a_class_does_not_verify_its_pixels(session: Session) -> None:
    """Deleting a class says nothing about other classes there."""
    paint(session, block(10, 10, 5, 5), 2)
    session.class_tools.delete(2)
    assert not session.area.mask().any()


def test_merged_objects_are_reviewed(session: Session) -> None:
    (proposed,) = session.proposals.replace(
        NewObjects((NewObject(1, block(20, 20, 10, 10), 0.6),), CLASSES, "head")
    ).apply()
    mine = paint(session, block(40, 40, 5, 5))
    before = digest(session)
    session.objects.merge((proposed.id, mine))
    goes_back_and_forth(session, before)
    session.proposals.replace(NewObjects((), (), "newer")).apply()
    assert session.document.objects[proposed.id].area_px == 125


def test_saved_is_emitted_for_every_change(session: Session) -> None:
    signals: list[None] = []
    session.saved.connect(lambda: signals.append(None))
    first = paint(session, block(10, 10, 10, 10))
    session.objects.flag((first,), "unsure")
    session.area.mark((30, 30, 40, 40))
    session.classes.rename(1, "tumour")
    session.undo()
    assert len(signals) == 5
    session.prompts.add_point(50, 50)
    assert len(signals) == 5, "a prompt is not saved"


# Rows and names for the docks


def test_across_returns_the_object_that_a_line_crosses_most(session: Session) -> None:
    narrow, wide = paint(session, block(10, 10, 40, 4)), paint(session, block(10, 20, 40, 30))
    assert session.objects.across((5, 20), (60, 20)) == wide
    assert session.objects.across((5, 20), (15, 20)) == narrow
    assert session.objects.across((-20, 90), (300, 90)) == 0
    assert session.objects.across((30, 30), (30, 30)) == wide
    assert session.objects.component_count(wide) == 1


def test_name_overlap_lists_the_largest_first(session: Session) -> None:
    small, large = paint(session, block(40, 40, 2, 2)), paint(session, block(10, 10, 30, 90), 2)
    more = [paint(session, block(70, 20 * n, 3, 3)) for n in range(1, 4)]
    overlap = Overlap({small: 4, large: 1200, **dict.fromkeys(more, 9)}, (small, *more))
    document = session.document
    assert name_overlap(document, overlap, 1) == f"stroma {large} (1,200 px) and 4 more"
    assert name_overlap(document, Overlap({small: 4}, (small,))) == f"gland {small} (all of it)"
    assert name_overlap(document, overlap, 9).endswith(f"and gland {small} (all of it)")


def test_objects_changed_lists_the_changed_ids(session: Session) -> None:
    signals: list[frozenset[int]] = []
    session.objects_changed.connect(signals.append)
    first = paint(session, block(10, 10, 10, 10))
    second = paint(session, block(15, 15, 10, 10))
    session.objects.flag((first,), "reviewed")
    session.undo()
    session.classes.rename(1, "tumour")
    session.objects.delete((second,))
    assert signals == [{first}, {first, second}, {first}, {first}, {second}]
    row = session.objects.row(first)
    assert row is not None
    assert (row.class_name, row.area_px, row.reviewed) == ("tumour", 75, False)
    assert row == session.objects.rows()[0]
    assert session.objects.row(second) is None
