"""Results of heads on a region, uncertain regions in it, and training samples that follow the sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.errors import DatasetError, ImageError
from napari_sampath.formats import DatasetFolder
from napari_sampath.jobs import run
from napari_sampath.predict import Segmentation
from napari_sampath.session import (
    Session,
    TrainingSamples,
    first_classes,
    from_segmentation,
    remember_dataset,
    remembered_dataset,
)
from support.models.disc_model import disc_model

if TYPE_CHECKING:
    from pathlib import Path

HW = (128, 192)
CLASSES = (ClassInfo(0, "rest", (0, 0, 0)), ClassInfo(1, "gland", (0, 158, 115)))


def session_of(value: int = 200, name: str = "slide") -> Session:
    return Session(np.full((*HW, 3), value, np.uint8), name, disc_model(), CLASSES[1:])


def segmentation(box: tuple[int, int, int, int], *objects: tuple[int, int, int, int]) -> Segmentation:
    """Return the result of a head on a region; objects are boxes in image pixels."""
    r0, c0, r1, c1 = box
    labels = np.zeros((r1 - r0, c1 - c0), np.uint8)
    for top, left, bottom, right in objects:
        labels[max(0, top - r0) : bottom - r0, max(0, left - c0) : right - c0] = 1
    return Segmentation(labels, np.full(labels.shape, 0.8, np.float32), None, CLASSES, "head", (r0, c0))


def test_objects_of_a_region_are_in_image_coordinates() -> None:
    result = segmentation((20, 40, 84, 104), (30, 50, 40, 60))
    new = from_segmentation(result)
    (obj,) = new.objects
    assert (obj.mask.row, obj.mask.col) == (30, 50)
    assert new.within == (20, 40, 84, 104)
    np.testing.assert_array_equal(new.label_map(), result.labels)


def test_a_result_on_a_region_replaces_only_the_proposals_there() -> None:
    session = session_of()
    session.proposals.replace(
        segmentation((0, 0, *HW), (10, 10, 30, 30), (40, 40, 60, 60), (70, 90, 80, 150))
    ).apply()
    session.paint(*np.nonzero(LocalMask(50, 50, np.ones((4, 4), bool)).to_dense(HW)), 1)
    session.proposals.replace(segmentation((35, 35, 100, 100), (41, 41, 61, 61))).apply()
    ids = np.asarray(session.document.instance_map)
    expected = np.zeros(HW, bool)
    expected[10:30, 10:30] = expected[41:61, 41:61] = expected[70:80, 100:150] = True
    np.testing.assert_array_equal(ids > 0, expected)
    assert len(np.unique(ids[10:30, 10:30])) == 1, "nothing changes outside the region"
    assert {obj.source for obj in session.document.objects.values()} == {"head", "brush"}
    assert not session.area.mask()[70:80, 90:100].any(), "what a head takes back is not verified"
    brush = next(obj.id for obj in session.document.objects.values() if obj.source == "brush")
    assert (ids == brush).sum() == 16, "corrections stay"
    session.undo()
    assert (np.asarray(session.document.instance_map)[70:80, 90:150] > 0).all(), "it is one step of undo"


def test_everything_on_a_region_changes_nothing_outside() -> None:
    session = session_of()
    mask = LocalMask(10, 10, np.ones((9, 9), bool))
    session.proposals.everything([(mask, 0.9)], "everything").apply()
    session.proposals.everything(
        [(LocalMask(60, 60, mask.bitmap), 0.8)], "everything", (50, 50, 100, 100)
    ).apply()
    assert sorted(obj.box[0] for obj in session.document.objects.values()) == [10, 60]
    session.proposals.everything([], "everything", (50, 50, 100, 100)).apply()
    assert sorted(obj.box[0] for obj in session.document.objects.values()) == [10]


def test_uncertain_regions_of_a_part_are_in_image_pixels() -> None:
    session = session_of()
    result = segmentation((32, 64, 96, 128))
    result.confidence[:16, 48:] = 0.5
    job = session.proposals.uncertain_job("entropy", [result])
    session.area.mark((0, 0, *HW))  # The job uses the verified area of the time it was made.
    first, *_ = run(job)
    assert first.box == (32, 112, 48, 128)
    assert first.score == pytest.approx(1.0)
    assert run(session.proposals.uncertain_job("entropy", [result])) == []


def test_results_on_other_parts_are_ignored() -> None:
    session = session_of()
    corner, whole = segmentation((0, 0, 64, 64), (8, 8, 24, 24)), segmentation((0, 0, *HW))
    for results in ([corner, whole], [whole, corner]):
        assert run(session.proposals.uncertain_job("entropy", results)) == run(
            session.proposals.uncertain_job("entropy", results[:1])
        )
        with pytest.raises(ImageError, match="this part of the image has 1"):
            run(session.proposals.uncertain_job("disagreement", results))
    assert run(session.proposals.uncertain_job("disagreement", [corner, segmentation((0, 0, 64, 64))]))


def test_changed_sessions_are_saved_to_the_dataset(tmp_path: Path) -> None:
    samples = TrainingSamples(tmp_path / "data")
    first, second = session_of(10, "first"), session_of(20, "second")
    samples.mark_changed(first)
    assert samples.save_job() is None, "nothing is verified"
    assert not samples.pending
    first.paint([5, 6], [5, 5], 1)
    first.files.mpp = 0.25
    second.proposals.replace(segmentation((0, 0, *HW), (1, 1, 9, 9))).apply()
    samples.mark_changed(first)
    samples.mark_changed(second)
    job = samples.save_job()
    assert job is not None
    assert run(job) == 1, "unreviewed proposals are no sample"
    assert not samples.pending
    images = DatasetFolder.open(tmp_path / "data").images
    assert {name: image.mpp for name, image in images.items()} == {"first": 0.25}
    first.objects.delete(list(first.document.objects))
    samples.mark_changed(first)
    job = samples.save_job()
    assert job is not None, "deleting all objects changes the sample"
    first.paint([9], [9], 1)
    samples.mark_changed(first)
    run(job)
    assert samples.pending, "it changed during the save"
    again = samples.save_job()
    assert again is not None
    again.close()
    assert samples.pending, "a cancelled save stays pending"
    assert run(samples.save_job()) == 1
    assert DatasetFolder.open(tmp_path / "data").read("first").labels[9, 9] == 1
    assert not samples.pending


def test_another_image_of_the_same_name_is_a_separate_sample(tmp_path: Path) -> None:
    """Otherwise, opening one case would replace the annotations of another."""
    samples = TrainingSamples(tmp_path / "data")
    names = {10: "tile_001", 20: "tile_001", 30: "Tile_001"}
    sessions = {value: session_of(value, name) for value, name in names.items()}

    def save(value: int) -> int:
        samples.mark_changed(sessions[value])
        job = samples.save_job()
        return 0 if job is None else run(job)

    sessions[10].paint([5], [5], 1)
    assert save(10) == 1
    assert save(20) == 0, "nothing was annotated"
    assert DatasetFolder.open(samples.folder).images["tile_001"].revision == 1
    for value in (20, 30):
        sessions[value].paint([value], [value], 1)
        assert save(value) == 1
    expected = {"tile_001": 10, "tile_001 (2)": 20, "Tile_001 (3)": 30}
    dataset = DatasetFolder.open(samples.folder)
    assert {name: dataset.read(name).pixels[0, 0, 0] for name in dataset.images} == expected
    assert dataset.read("tile_001").labels[5, 5] == 1
    again = session_of(20, "TILE_001")
    again.paint([7], [7], 1)
    assert again.files.save_to_dataset(samples.folder).name == "tile_001 (2)", "found by its pixels"
    assert DatasetFolder.open(samples.folder).read("tile_001 (2)").labels[7, 7] == 1


def test_a_sample_with_a_damaged_image_is_replaced_and_kept_in_history(tmp_path: Path) -> None:
    session = session_of(10, "first")
    session.paint([5], [5], 1)
    session.files.save_to_dataset(tmp_path)
    DatasetFolder.open(tmp_path).file("images", "first").write_bytes(b"")
    samples = TrainingSamples(tmp_path)
    samples.mark_changed(session_of(10, "first"))
    assert run(samples.save_job()) == 0, (
        "an unchanged image does not replace a sample that may be another image"
    )
    session.paint([6], [6], 1)
    assert (
        session.files.save_to_dataset(tmp_path).name,
        DatasetFolder.open(tmp_path).read("first").labels[6, 6],
    ) == (
        "first",
        1,
    )
    assert (tmp_path / "history" / "first" / "1" / "labels.png").is_file()


def test_an_image_that_cannot_be_saved_does_not_stop_the_others(tmp_path: Path) -> None:
    samples = TrainingSamples(tmp_path)
    bad, good = session_of(10, " "), session_of(20, "good")
    for session in (bad, good):
        session.paint([5], [5], 1)
        samples.mark_changed(session)
    with pytest.raises(DatasetError, match="no name"):
        run(samples.save_job())
    assert list(DatasetFolder.open(tmp_path).images) == ["good"]
    assert samples.pending, "the refused image stays pending"


def test_the_dataset_in_use_is_restored(tmp_path: Path) -> None:
    assert remembered_dataset(tmp_path) is None
    (tmp_path / "data").mkdir()
    remember_dataset(tmp_path / "data", tmp_path)
    assert remembered_dataset(tmp_path) == tmp_path / "data"
    (tmp_path / "data").rmdir()
    assert remembered_dataset(tmp_path) is None


def test_a_new_image_starts_with_the_classes_of_the_dataset(tmp_path: Path) -> None:
    before = (ClassInfo(1, "fat", (1, 2, 3)),)
    assert first_classes(None) == ()
    assert first_classes(tmp_path / "data", before) == before
    session = session_of()
    session.classes.add("never used")
    session.paint([5], [5], 1)
    session.files.save_to_dataset(tmp_path / "data")
    assert first_classes(tmp_path / "data", before) == CLASSES[1:], "unused classes are not saved"
    fresh = Session(session.image, "fresh")
    fresh.begin_with(before)
    assert fresh.classes.snapshot == before, "there are no objects, so the classes are replaced"
    assert fresh.active_class == 1
    session.begin_with(before)
    assert "never used" in [info.name for info in session.classes], "an edited list stays"
