"""Sessions on a slide of 100,352 px: prompts at the scale of the view, strokes, undo, journal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_sampath.annotations import open_journal
from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.errors import DatasetError, ImageError, JournalError, PromptError
from napari_sampath.formats.objects import LabelledObject, Objects, visible_areas
from napari_sampath.geometry import Frame
from napari_sampath.images.slides import ArraySlide
from napari_sampath.jobs import run
from napari_sampath.session import Session
from napari_sampath.session.journals import save_stated_mpp, stated_mpp
from napari_sampath.session.proposals import classifying, similar
from napari_sampath.session.proposals.new_objects import NewObject, NewObjects
from napari_sampath.session.proposals.plan import plan_addition
from napari_sampath.session.proposals.refining import iou
from napari_sampath.tiling import slide_tile_for, slide_tiles_for, step_of
from support.models.disc_model import disc_model

SIDE = 100_352
HW = (SIDE, 70_001)
CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))


def slide(color: tuple[int, int, int] = (200, 150, 180), hw: tuple[int, int] = HW) -> ArraySlide:
    """A slide that takes no memory."""
    levels = [(-(-hw[0] // factor), -(-hw[1] // factor), 3) for factor in (1, 4, 16, 64)]
    return ArraySlide([np.broadcast_to(np.array(color, np.uint8), shape) for shape in levels], "slide", 0.25)


def open_session(journal: Path | None = None, **options: Any) -> Session:
    return Session(slide(**options), "slide", disc_model(as_seen=True), CLASSES, journal)


def click(session: Session, x: float, y: float) -> LocalMask:
    session.prompts.add_point(x, y)
    request = session.prompts.request()
    assert request is not None
    assert session.prompts.accept(session.prompts.answerer.answer(request))
    assert session.prompts.candidate is not None
    return session.prompts.candidate.mask


def view(side: int) -> tuple[int, int, int, int]:
    return (50_000, 40_000, 50_000 + side, 40_000 + side)


@pytest.mark.parametrize(
    ("side", "tile"), [(900, 1024), (2048, 1024), (2049, 2048), (16_000, 8192), (60_000, 32_768)]
)
def test_a_click_means_what_is_seen(side: int, tile: int) -> None:
    session = open_session()
    session.prompts.set_view(view(side))
    x, y = 40_000 + side / 3, 50_000 + side / 2
    mask = click(session, x, y)
    frame = session.prompts.state.frame
    assert frame is not None
    assert max(frame.hw) == tile
    assert frame.contains([(x - tile / 4 + 1, y - tile / 4 + 1), (x + tile / 4 - 1, y + tile / 4 - 1)])
    step = tile // 1024
    assert (mask.step, step_of(frame)) == (step, step)
    # The model sees discs of 12 px of its input.
    assert mask.area_px == pytest.approx(math.pi * (12 * step) ** 2, rel=0.1)
    obj = session.commit()
    assert obj is not None
    assert session.document.objects[obj.id].area_px == mask.area_px
    assert session.document.object_at(round(y), round(x)) == obj.id
    assert session.document.pixels(obj.id).area_px == mask.area_px


def test_an_object_is_refined_at_another_zoom() -> None:
    session = open_session()
    session.prompts.set_view(view(16_000))
    click(session, 44_000, 54_000)
    obj = session.commit()
    assert obj is not None
    coarse = session.document.pixels(obj.id)
    session.prompts.set_view(view(900))
    session.prompts.set_object(obj.id)
    click(session, 44_010, 54_010)
    refined = session.commit()
    assert refined is not None
    assert refined.id == obj.id
    assert session.document.pixels(obj.id).area_px < coarse.area_px
    assert session.undo()
    assert session.document.pixels(obj.id).area_px == coarse.area_px


def test_the_corners_of_a_slide_can_be_clicked_at_every_zoom() -> None:
    session = open_session()
    for side in (600, 3000, 70_000):
        session.prompts.set_view((SIDE - side, HW[1] - side, SIDE, HW[1]))
        for x, y in ((HW[1] - 1, SIDE - 1), (0, 0), (HW[1] - 1, 0), (HW[1] / 2, SIDE)):
            assert click(session, x, y).area_px > 0
            assert session.commit() is not None
    assert session.document.object_at(SIDE - 1, HW[1] - 1) > 0
    with pytest.raises(PromptError, match="outside the image of 70001 x 100352 px"):
        session.prompts.add_point(HW[1] + 1, 5)


@pytest.mark.parametrize("tile_px", [512, 1024, 4096, 65_536, 131_072])
def test_tiles_of_a_slide_lie_inside_and_start_at_their_step(tile_px: int) -> None:
    rng = np.random.default_rng(tile_px)
    for x, y in rng.uniform(0, 1, (50, 2)) * (HW[1], HW[0]):
        frame = slide_tile_for(HW, [(x, y)], tile_px)
        step = step_of(frame)
        assert frame.contains([(x, y)])
        assert (frame.top % step, frame.left % step) == (0, 0)
        assert frame.top + frame.height <= HW[0]
        assert frame.left + frame.width <= HW[1]
        box = (int(y), int(x), min(int(y) + 700, HW[0]), min(int(x) + 700, HW[1]))
        tiles = slide_tiles_for(HW, box, tile_px)
        for row, col in rng.uniform(0, 1, (5, 2)) * (box[2] - box[0], box[3] - box[1]) + box[:2]:
            assert slide_tile_for(HW, [(col, row)], tile_px) in tiles


def test_strokes_of_every_zoom_survive_a_crash_and_are_undone(tmp_path: Path) -> None:
    journal = tmp_path / "a.jsonl"
    session = open_session(journal)
    disc = np.hypot(*(np.mgrid[:301, :301] - 150)) < 150
    small = session.paint_mask(LocalMask(1000, 2000, disc), 1)
    large = session.paint_mask(LocalMask(64 * 100, 64 * 300, disc, 64), 2)
    across = session.paint_mask(LocalMask(64 * 250, 64 * 300, disc, 64), 1)
    assert small is not None
    assert large is not None
    assert across is not None
    session.paint_mask(LocalMask(64 * 150, 64 * 400, np.ones((20, 20), bool), 64), 0)
    session.area.complete((0, 0, 20_000, 40_000))
    # Another zoom shows the same.
    overview = session.document.class_map.read((0, 0, *HW), 64)
    assert overview[100:250, 300:600].any()
    assert session.document.class_map[64 * 250 + 64 * 150, 64 * 300 + 64 * 150] == 1
    session.close()
    session = open_session(journal)
    assert np.array_equal(session.document.class_map.read((0, 0, *HW), 64), overview)
    assert session.area.mask((19_000, 39_000, 19_100, 39_100)).all()
    assert session.document.objects.keys() == {small.id, large.id, across.id}
    for _ in range(5):
        assert session.undo()
    assert not session.document.instance_map.any()
    assert not session.document.verified_map.any()
    session.close()
    assert journal.stat().st_size < 200_000


def test_a_journal_of_a_slide_says_so_and_knows_its_slide(tmp_path: Path) -> None:
    journal = tmp_path / "a.jsonl"
    session = open_session(journal)
    session.close()
    reading = open_journal(journal)
    assert (reading.header.kind, reading.header.schema, reading.header.hw) == ("slide", 2, HW)
    reading.close()
    with pytest.raises(JournalError, match="belongs to the image 'slide'"):
        open_session(journal, color=(9, 9, 9))


def test_a_journal_of_an_image_gets_schema_2_with_the_first_mask_that_needs_it(tmp_path: Path) -> None:
    image, journal = np.zeros((5000, 5000, 3), np.uint8), tmp_path / "a.jsonl"
    session = Session(image, "image", None, CLASSES, journal)
    session.paint_mask(LocalMask(100, 100, np.ones((9, 9), bool)), 1)
    assert b'"schema":1' in journal.read_bytes().splitlines()[0]
    session.paint_mask(LocalMask(800, 400, np.ones((9, 9), bool), 8), 2)
    session.paint_mask(LocalMask(4000, 400, np.ones((9, 9), bool)), 2)
    assert b'"schema":2' in journal.read_bytes().splitlines()[0]
    shown = np.asarray(session.document.class_map)
    session.close()
    again = Session(image, "image", None, CLASSES, journal)
    assert not again.notes
    assert np.array_equal(np.asarray(again.document.class_map), shown)
    again.close()


def test_the_first_tiles_of_a_slide_are_encoded_at_once(tmp_path: Path) -> None:
    session = open_session()
    assert run(session.prompts.encode_job()) == 1
    job = session.prompts.view_job(view(16_000))
    assert job is not None
    assert 0 < run(job) <= 32
    assert session.prompts.preview(48_000, 58_000) is None or session.prompts.view_job(view(16_000)) is None
    with pytest.raises(DatasetError, match="'slide' is a slide of 70001 x 100352 px"):
        session.files.save_to_dataset(tmp_path)


def test_a_box_over_the_whole_slide_is_answered_at_its_step(tmp_path: Path) -> None:
    session = open_session()
    session.prompts.set_box(0, 0, HW[1], HW[0])
    request = session.prompts.request()
    assert request is not None
    assert session.prompts.accept(session.prompts.answerer.answer(request))
    candidate = session.prompts.candidate
    assert candidate is not None
    assert candidate.mask.step == 64
    assert candidate.mask.bitmap.size <= 2**21
    assert session.commit() is not None
    with pytest.raises(
        ImageError, match=r"'slide' is 70001 x 100352 px .* too large for a PNG; export it as tiff"
    ):
        session.files.export(tmp_path, ("png",))
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"mpp": -1}', '{"mpp": 352.8}', '{"mpp": [1]}', '{"mpp": "x"}']
)
def test_a_damaged_statement_of_the_pixel_size_counts_as_missing(content: str, tmp_path: Path) -> None:
    journal = tmp_path / "digest.jsonl"
    assert stated_mpp(journal) is None
    save_stated_mpp(journal, 0.25)
    assert stated_mpp(journal) == 0.25
    (tmp_path / "digest.mpp.json").write_text(content)
    assert stated_mpp(journal) is None


def test_a_slide_that_is_open_twice_is_refused(tmp_path: Path) -> None:
    session = open_session(tmp_path / "a.jsonl")
    with pytest.raises(JournalError, match="open in another window"):
        open_session(tmp_path / "a.jsonl")
    session.close()


def test_masks_with_a_step_are_added_and_compared_like_their_pixels() -> None:
    disc = np.hypot(*(np.mgrid[:40, :40] - 19.5)) < 19
    results = []
    for step in (8, 1):
        bitmap = np.kron(disc, np.ones((8 // step, 8 // step), bool))
        masks = [LocalMask(row, 1600, bitmap, step) for row in (800, 1000, 8000)]
        session = open_session()
        session.paint_mask(LocalMask(880, 1600, np.ones((160, 160), bool)), 2)
        new = NewObjects(tuple(NewObject(1, mask, 0.9) for mask in masks), CLASSES, within=(0, 0, 2000, 2000))
        kept = plan_addition(session.document, new, None, keep_existing=True)
        assert kept is not None
        session.do(kept)
        areas = [record.area_px for record in session.document.objects.values()]
        items = [LabelledObject(number, 1, mask) for number, mask in enumerate(masks, start=1)]
        seen = Objects((9000, 9000), CLASSES, tuple(items))
        results.append(
            (
                areas,
                [similar._is_free(session.document, mask) for mask in masks],
                visible_areas(items).tolist(),
                int((seen.to_labels().instance_map == 2).sum()),
                int(new.label_map().sum()),
                round(iou(masks[0], masks[1]), 6),
                iou(masks[0], masks[2]),
                classifying.cell_weights(masks[0], Frame(0, 1024, 2048, 2048)).round(4).tolist(),
            )
        )
    assert results[0] == results[1]
    assert results[0][1] == [False, False, False]


def test_objects_of_a_slide_are_edited_like_those_of_an_image() -> None:
    session = open_session()
    ones = np.ones((100, 100), bool)
    first = session.paint_mask(LocalMask(3200, 3200, ones, 32), 1)
    second = session.paint_mask(LocalMask(3200, 9600, ones, 32), 1)
    assert first is not None
    assert second is not None
    merged = session.objects.merge((first.id, second.id))
    assert merged.area_px == 2 * 3200**2
    session.objects.split_components(merged.id)
    assert [row.area_px for row in session.objects.rows()] == [3200**2] * 2
    session.overlap = "keep"
    third = session.paint_mask(LocalMask(3200, 4800, ones, 32), 2)
    assert third is not None
    assert third.area_px == 3200 * 1600, "the pixels of the first object are kept"
    session.objects.grow(first.id, 64, overwrite=True)
    session.objects.delete((first.id,))
    while session.undo():
        pass
    assert not session.document.objects
