"""Find similar in a session: proposals, rejections, undo and the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import napari_sampath as ns
from napari_sampath.annotations import Add, AnnotatedObject
from napari_sampath.arrays import LocalMask
from napari_sampath.errors import PromptError
from napari_sampath.jobs import run
from napari_sampath.predict.similar.settings import SimilarSettings
from napari_sampath.session import Session

if TYPE_CHECKING:
    from pathlib import Path

HW = (256, 256)
CENTRES = [(row, col) for row in (40, 110, 180) for col in (40, 110, 180)]


def nucleus(number: int) -> LocalMask:
    row, col = CENTRES[number]
    rows, cols = np.mgrid[: HW[0], : HW[1]]
    return LocalMask.from_dense((rows - row) ** 2 + (cols - col) ** 2 <= 14**2)


def tissue() -> np.ndarray:
    rng = np.random.default_rng(0)
    image = np.full((*HW, 3), (225, 170, 205), np.float64)
    for number in range(len(CENTRES)):
        image[nucleus(number).to_dense(HW)] = (95, 60, 140)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> ns.predict.Model:
    return ns.load_model("sampath-tiny", device="cpu")


def session_of(model: object, journal: Path | None = None) -> Session:
    session = Session(tissue(), "tile", model, journal=journal)
    record = AnnotatedObject(1, 1, "point")
    session._editor.do(Add(((record, nucleus(4)),)))
    return session


def proposals(session: Session) -> list[AnnotatedObject]:
    return [obj for obj in session.document.objects.values() if obj.source == "similar"]


def test_proposals_are_reviewed_like_those_of_a_head(model: object, tmp_path: Path) -> None:
    session = session_of(model, tmp_path / "tile.jsonl")
    search = session.proposals.similar
    search.use(run(search.job(1)), 1)
    added = search.propose().apply()
    assert len(added) >= 6
    assert {obj.source for obj in added} == {"similar"}
    assert all(obj.trust == 0 and 0 <= obj.score <= 1 and obj.class_id == 1 for obj in added)
    assert session.document.objects[1].source == "point", "the exemplar is kept"

    # A higher threshold replaces them without a new search, and keeps what a person has reviewed.
    best = max(added, key=lambda obj: obj.score or 0)
    session.objects.flag((best.id,), "reviewed", True)
    search.propose(SimilarSettings(min_similarity=1.0)).apply()
    assert [obj.id for obj in proposals(session) if obj.reviewed] == [best.id]
    assert len(proposals(session)) < len(added)
    session.undo()
    assert len(proposals(session)) == len(added)
    session.close()

    restored = Session(tissue(), "tile", model, journal=tmp_path / "tile.jsonl")
    assert len(proposals(restored)) == len(added)
    restored.close()


def test_a_deleted_proposal_is_a_negative_exemplar_at_once(model: object) -> None:
    session = session_of(model)
    search = session.proposals.similar
    search.use(run(search.job(1)), 1)
    added = search.propose().apply()
    wrong = added[0]
    row, col = session.document.pixels(wrong.id).row + 14, session.document.pixels(wrong.id).col + 14
    session.objects.delete((wrong.id,))
    assert len(search.rejected()) == 1
    search.propose().apply()
    assert session.document.object_at(row, col) == 0, "it is not proposed again"
    # Undoing all proposals rejects none of them.
    session.undo()
    session.undo()
    assert not search.rejected()
    session.undo()
    assert not proposals(session)
    assert not search.rejected()


def test_the_verified_area_is_not_changed(model: object) -> None:
    session = session_of(model)
    session.area.mark((0, 0, 256, 128), True)
    search = session.proposals.similar
    search.use(run(search.job(1)), 1)
    added = search.propose().apply()
    assert added
    for obj in added:
        mask = session.document.pixels(obj.id)
        assert mask.col >= 128


def test_a_search_needs_an_object_and_a_model(model: object) -> None:
    session = Session(tissue(), "tile", model)
    with pytest.raises(PromptError, match="There is no object of class"):
        session.proposals.similar.job(1)
    with pytest.raises(PromptError, match="Nothing has been searched"):
        session.proposals.similar.propose()
    session.model = None
    with pytest.raises(PromptError, match="choose a model"):
        session.proposals.similar.job(1)
