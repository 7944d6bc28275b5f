"""Slivers of overwritten objects are removed with the overwrite, in the same undo step; larger pieces are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sampath.annotations import Add, AnnotatedObject, Batch
from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.session import Session
from napari_sampath.session.objects.remnants import without_remnants
from support.models.disc_model import disc_model
from support.programs.journal_victim import digest, prompt_at

if TYPE_CHECKING:
    from pathlib import Path

HW = (96, 128)
CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "nucleus", (240, 228, 66)))
RADIUS_PX = 12
"""Radius of the masks of the model."""


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, cols = np.mgrid[: HW[0], : HW[1]]
    return np.hypot(rows - y, cols - x) <= radius


def open_session(journal: Path | None = None) -> Session:
    image = np.random.default_rng(3).integers(0, 255, (*HW, 3), dtype=np.uint8)
    return Session(image, "slide", disc_model(), CLASSES, journal)


def paint(session: Session, shape: np.ndarray, class_id: int = 1) -> int:
    made = session.paint(*np.nonzero(shape), class_id)
    assert made is not None
    return made.id


def commit(session: Session, x: float, y: float) -> tuple[int, str]:
    """Commit a click as a nucleus; return its id and the last message."""
    messages = [""]
    session.message.connect(messages.append)
    session.active_class = 2
    prompt_at(session, x, y)
    made = session.commit("overwrite")
    session.message.disconnect(messages.append)
    assert made is not None
    return made.id, messages[-1]


def area(session: Session, object_id: int) -> int:
    return int((np.asarray(session.document.instance_map) == object_id).sum())


@pytest.mark.parametrize("radius", [RADIUS_PX + 1, RADIUS_PX + 2])
def test_a_thin_ring_around_the_new_mask_is_removed(tmp_path: Path, radius: int) -> None:
    session = open_session(tmp_path / "journal.jsonl")
    old = paint(session, disc(50, 50, radius))
    before = digest(session)
    _, message = commit(session, 50, 50)
    assert area(session, old) == 0
    assert old not in session.document.objects
    assert "Removed slivers" in message
    assert message.endswith(f"of gland {old}.")
    after = digest(session)
    session.undo()
    assert digest(session) == before, "one undo step"
    session.redo()
    assert digest(session) == after
    session.close()
    again = open_session(tmp_path / "journal.jsonl")
    assert digest(again) == after
    again.close()


def test_removed_slivers_are_not_trained_on() -> None:
    session = open_session()
    paint(session, disc(50, 50, RADIUS_PX + 2))
    commit(session, 50, 50)
    verified = np.asarray(session.document.verified_map).astype(bool)
    sliver = disc(50, 50, RADIUS_PX + 2) & (np.asarray(session.document.instance_map) == 0)
    assert sliver.any()
    assert not verified[sliver].any()


def test_small_pieces_go_and_large_pieces_stay_one_object() -> None:
    session = open_session()
    bar = np.zeros(HW, bool)
    bar[44:57, 10:110] = True
    old = paint(session, bar)
    _, message = commit(session, 60, 50)
    assert message == ""
    assert session.objects.component_count(old) == 2, "both ends are large"
    commit(session, 22, 50)
    left = np.asarray(session.document.instance_map)[:, :22] == old
    assert not left.any(), "less than 5 % of the bar is left on this side"
    assert area(session, old) > 0


def test_thin_objects_and_pieces_away_from_the_mask_are_kept() -> None:
    session = open_session()
    line = np.zeros(HW, bool)
    line[50:52, 5:120] = True
    old = paint(session, line)
    commit(session, 60, 50)
    assert area(session, old) > 150
    far = disc(20, 20, 10) | disc(100, 80, 1)
    both = paint(session, far)
    commit(session, 20, 28)
    assert np.asarray(session.document.instance_map)[80, 100] == both


def test_a_piece_that_leaves_the_window_is_kept() -> None:
    session = open_session()
    big = np.zeros(HW, bool)
    big[:, :118] = True
    old = paint(session, big)
    commit(session, 60, 50)
    assert area(session, old) == big.sum() - (np.asarray(session.document.instance_map) == 2).sum()


def test_neighbours_that_are_kept_lose_nothing() -> None:
    session = open_session()
    old = paint(session, disc(50, 50, RADIUS_PX + 1) & ~disc(50, 50, RADIUS_PX - 3))
    before = area(session, old)
    prompt_at(session, 50, 50)
    session.commit("keep")
    assert area(session, old) == before


def test_masks_that_are_added_together_do_not_erase_each_other() -> None:
    session = open_session()
    old = paint(session, disc(46, 50, 10))
    masks = [LocalMask.from_dense(disc(x, 50, 11), 0, 0) for x in (38, 54)]
    records = [(AnnotatedObject(key, 2, "box"), mask) for key, mask in zip((7, 8), masks, strict=True)]
    operation, remnants = without_remnants(session.document, Add(tuple(records)))
    assert remnants is not None
    assert remnants.ids == (old,)
    both = disc(38, 50, 11) | disc(54, 50, 11)
    assert not any((mask.to_dense(HW) & both).any() for mask in remnants.masks)
    assert isinstance(operation, Batch)


def test_slivers_are_found_under_masks_of_any_step() -> None:
    found = []
    for step in (1, 4):
        session = open_session()
        old = paint(session, disc(50, 50, 40))
        other = paint(session, disc(110, 20, 5))
        ones = np.ones((24, 20), bool)
        ones[:2, :2] = False  # A corner of the object remains: it is small, but not thin.
        ones[14:, 18:] = False
        bitmap = np.kron(ones, np.ones((4 // step, 4 // step), bool))
        record = AnnotatedObject(9, 2, "box")
        _, remnants = without_remnants(session.document, Add(((record, LocalMask(0, 12, bitmap, step)),)))
        assert remnants is not None
        assert remnants.ids == (old,)
        assert all(mask.step == 1 for mask in remnants.masks)
        removed = np.logical_or.reduce([mask.to_dense(HW) for mask in remnants.masks])
        assert not removed[session.document.instance_map == other].any()
        found.append(removed)
    assert found[1].any()
    # Where a step cannot show how thin a piece is, it is kept.
    assert not (found[1] & ~found[0]).any()
