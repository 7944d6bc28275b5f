"""Label maps and outlines in memory become objects in one step, and are refined as mask prompts in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sampath.errors import ImageError
from napari_sampath.jobs import run
from napari_sampath.session import Session
from napari_sampath.session.proposals.refining import RefineSettings, iou
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from napari_sampath.arrays import LocalMask

HW = (120, 160)


def disc(row: float, col: float, radius: float, hw: tuple[int, int] = HW) -> np.ndarray:
    rows, cols = np.indices(hw)
    return np.hypot(rows - row, cols - col) <= radius


@pytest.fixture
def session() -> Session:
    return Session(np.random.default_rng(0).integers(0, 255, (*HW, 3), dtype=np.uint8), "image")


def masks(session: Session) -> dict[int, np.ndarray]:
    return {number: session.document.pixels(number).to_dense(HW) for number in session.document.objects}


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint16])
def test_each_value_is_an_object_in_one_undo_step(session: Session, dtype: Any) -> None:
    labels = np.zeros(HW, dtype)
    labels[disc(30, 30, 10)], labels[disc(30, 49, 9)], labels[disc(80, 100, 12)] = 7, 9, 120
    added = session.files.adopt_labels(labels, "nucleus")
    assert [session.classes.by_id(obj.class_id).name for obj in added] == ["nucleus"] * 3
    for obj, value in zip(added, (7, 9, 120), strict=True):
        assert np.array_equal(masks(session)[obj.id], labels == value)
    assert session.undo()
    assert not session.document.objects
    assert session.redo()
    assert len(session.document.objects) == 3


def test_one_value_means_connected_components(session: Session) -> None:
    labels = disc(30, 30, 10) | disc(80, 100, 12)
    notes: list[str] = []
    assert len(session.files.adopt_labels(labels, "nucleus", notes=notes)) == 2
    assert any("connected component" in note for note in notes)
    session.undo()
    assert len(session.files.adopt_labels(labels, "nucleus", values="objects")) == 1


def test_the_class_is_that_of_the_name(session: Session) -> None:
    info = session.classes.add("gland")
    (obj,) = session.files.adopt_labels(disc(30, 30, 10), "Gland")
    assert obj.class_id == info.id
    (other,) = session.files.adopt_labels(disc(80, 80, 10), "lumen")
    assert session.classes.by_id(other.class_id).name == "lumen"


def test_labels_at_half_the_scale_and_moved(session: Session) -> None:
    small = disc(20, 25, 8, (50, 60))
    to_labels = np.array([[0.5, 0, -5.0], [0, 0.5, -4.0]])  # (row, col) of the image -> of the labels
    notes: list[str] = []
    (obj,) = session.files.adopt_labels(small, "nucleus", to_labels, notes=notes)
    expected = np.zeros(HW, bool)
    for row, col in np.ndindex(*HW):
        place = np.round(to_labels @ (row, col, 1)).astype(int)
        if (place >= 0).all() and (place < small.shape).all():
            expected[row, col] = small[tuple(place)]
    assert expected.sum() > 700
    assert np.array_equal(masks(session)[obj.id], expected)
    assert any("resampled" in note for note in notes)


@pytest.mark.parametrize(
    ("labels", "to_labels", "words"),
    [
        (np.zeros((60, 80), int), None, "80 x 60 px"),
        (np.zeros(HW, int), None, "no objects"),
        (np.zeros((3, *HW), int), None, "shape"),
        (np.zeros(HW), None, "whole numbers"),
        (np.full(HW, -1), None, "negative"),
        (np.ones(HW, int), np.array([[1.0, 0, 500], [0, 1, 500]]), "no objects in the image"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(
    session: Session, labels: np.ndarray, to_labels: np.ndarray | None, words: str
) -> None:
    with pytest.raises(ImageError, match=words) as error:
        session.files.adopt_labels(labels, "nucleus", to_labels)
    assert str(error.value).count(".") == str(error.value).rstrip(".").count(".") + 1
    assert not session.document.objects


def test_outlines_are_filled_and_later_ones_are_on_top(session: Session) -> None:
    square = [(9.5, 9.5), (9.5, 19.5), (19.5, 19.5), (19.5, 9.5)]
    over = [(14.5, 14.5), (14.5, 29.5), (24.5, 29.5), (24.5, 14.5)]
    outside = [(500.0, 500.0), (500.0, 510.0), (510.0, 510.0)]
    notes: list[str] = []
    first, second = session.files.adopt_outlines([square, over, outside], "region", notes)
    assert masks(session)[second.id].sum() == 150
    assert masks(session)[first.id].sum() == 75
    assert any("1 shape outside the image" in note for note in notes)
    with pytest.raises(ImageError, match="no shape"):
        session.files.adopt_outlines([outside], "region")


class Improving(DiscModel):
    """Answers a mask prompt with a disc around its innermost pixel; its score falls to the right."""

    def decode(self, features: Any, prompts: Any, multimask: bool = True) -> tuple[np.ndarray, np.ndarray]:
        logits, scores = super().decode(features, prompts.__class__(prompts.points_xy, prompts.labels), False)
        return logits, np.where(prompts.points_xy[0, 0] > 120, 0.3, scores)


def test_refining_keeps_good_objects_and_counts_both(session: Session) -> None:
    labels = np.zeros(HW, int)
    labels[disc(30, 30, 20)] = 1  # As the model answers: good already.
    labels[disc(30, 80, 18)] = 2  # Smaller: refined.
    labels[disc(90, 30, 4)] = 3  # Very different.
    labels[disc(90, 135, 17)] = 4  # The model is not certain.
    ids = [obj.id for obj in session.files.adopt_labels(labels, "nucleus")]
    before = masks(session)
    session.model = Improving()  # type: ignore[assignment]
    refinement = run(session.proposals.refine_job([*ids, 999]))
    assert list(refinement.masks) == [2]
    assert (refinement.good, refinement.different, refinement.worse) == (1, 1, 1)
    assert refinement.sentence().startswith("1 object refined, 3 unchanged (1 good already")
    session.proposals.refine_change(refinement).apply()
    after = masks(session)
    assert [number for number in ids if not np.array_equal(before[number], after[number])] == [2]
    assert after[2].sum() > before[2].sum()
    assert session.document.objects[2].score == pytest.approx(0.9)
    assert session.undo()
    assert np.array_equal(masks(session)[2], before[2])


def test_refined_objects_leave_their_pixels_to_others(session: Session) -> None:
    labels = np.zeros(HW, int)
    labels[disc(40, 40, 17)] = 1
    labels[disc(40, 75, 17)] = 2
    ids = [obj.id for obj in session.files.adopt_labels(labels, "nucleus")]
    session.model = Improving()  # type: ignore[assignment]
    refinement = run(session.proposals.refine_job(ids, RefineSettings(same_iou=1.0)))
    assert len(refinement.masks) == 2
    session.proposals.refine_change(refinement).apply()
    after = masks(session)
    assert not (after[1] & after[2]).any()
    assert ((labels == 1) <= after[1]).all()
    assert ((labels == 2) <= after[2]).all()


def test_proposals_that_nobody_reviewed_stay_unreviewed(session: Session) -> None:
    from napari_sampath.arrays import ClassInfo, LocalMask
    from napari_sampath.session import NewObjects
    from napari_sampath.session.proposals.new_objects import NewObject

    mask: LocalMask = LocalMask.from_dense(disc(60, 60, 17))
    new = NewObjects((NewObject(1, mask, 0.8),), (ClassInfo(1, "nucleus", (1, 2, 3)),), "a head", (0, 0, *HW))
    (obj,) = session.proposals.add(new).apply()
    session.model = Improving()  # type: ignore[assignment]
    session.proposals.refine_change(run(session.proposals.refine_job([obj.id]))).apply()
    assert session.document.objects[obj.id].modified is not None
    assert session.document.objects[obj.id].trust == 0
    assert not session.area.mask().any()


def test_intersection_over_union() -> None:
    from napari_sampath.arrays import LocalMask

    first, second = LocalMask(0, 0, np.ones((4, 4), bool)), LocalMask(2, 0, np.ones((4, 4), bool))
    assert iou(first, second) == pytest.approx(8 / 24)
    assert iou(first, LocalMask(10, 10, np.ones((2, 2), bool))) == 0
