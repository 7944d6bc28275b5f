"""Automatic results in a session: proposals, uncertain regions, classes by similarity, folders, training samples."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.errors import DatasetError, ImageError, PromptError, StorageError, UnknownNameError
from napari_sampath.formats import DatasetFolder
from napari_sampath.geometry import whole
from napari_sampath.images import LoadedImage
from napari_sampath.jobs import Progress, run
from napari_sampath.session import (
    FolderQueue,
    ResultFilter,
    Session,
    automatic_job,
    from_segmentation,
    journal_path,
    uncertain_regions,
)
from napari_sampath.session.folder.queue import Entry
from napari_sampath.session.proposals.classifying import cell_weights, classify
from napari_sampath.session.proposals.new_objects import NewObject, NewObjects
from support import small_disk
from support.models.disc_model import disc_model
from support.models.patches import patch_model

small = pytest.fixture(small_disk.mounted)
HW = (128, 192)
CLASSES = (
    ClassInfo(0, "rest", (0, 0, 0)),
    ClassInfo(1, "gland", (0, 158, 115)),
    ClassInfo(2, "fat", (1, 2, 3)),
)


@dataclass
class Result:
    labels: Any
    confidence: Any
    classes: Any = CLASSES
    head: str = "a head"
    probabilities: Any = None
    extra: dict[str, Any] = field(default_factory=dict)


def block(row: int, col: int, height: int, width: int) -> LocalMask:
    return LocalMask(row, col, np.ones((height, width), dtype=bool))


def nothing(box: tuple[int, int, int, int]) -> np.ndarray:
    return np.zeros((box[2] - box[0], box[3] - box[1]), dtype=bool)


def result(confidence: float = 1.0) -> Result:
    return Result(np.zeros(HW, np.uint8), np.full(HW, confidence, np.float32))


# Proposals of heads


def squares(count: int, class_id: int = 1) -> NewObjects:
    objects = [
        NewObject(class_id, block(2 + 12 * (n // 12), 2 + 12 * (n % 12), 9, 9), 0.5) for n in range(count)
    ]
    return NewObjects(tuple(objects), CLASSES, "a head")


def state(session: Session) -> tuple[bytes, bytes, list[Any]]:
    """Return the maps and the objects without their times."""
    objects = [replace(obj, created="") for _, obj in sorted(session.document.objects.items())]
    return (
        np.asarray(session.document.class_map).tobytes(),
        np.asarray(session.document.instance_map).tobytes(),
        objects,
    )


def test_a_change_prepared_in_a_thread_equals_one_applied_at_once(tmp_path: Path) -> None:
    """Compare maps, objects, classes, the journal and undo; signals are emitted when it is taken."""
    picture = np.arange(HW[0] * HW[1] * 3, dtype=np.uint8).reshape(*HW, 3)
    sessions = [Session(picture, name, journal=tmp_path / name) for name in ("at once", "prepared")]
    boxes: list[object] = []
    for session in sessions:
        session.paint(*np.indices((20, 20)).reshape(2, -1), 1)
        session.proposals.replace(squares(30, 2)).apply()
    empty = state(sessions[0])
    sessions[0].proposals.replace(squares(60)).apply()
    with ThreadPoolExecutor(1) as pool:
        change = sessions[1].proposals.replace(squares(60))
        prepared = pool.submit(run, change.prepare()).result()
    assert state(sessions[1]) == empty
    sessions[1].document_changed.connect(boxes.append)
    added = change.take(prepared)
    assert added is not None
    assert {obj.class_id for obj in added} == {sessions[1].classes.by_name("gland").id}
    assert len(boxes) == 1
    assert state(sessions[0]) == state(sessions[1])
    assert sessions[0].classes == sessions[1].classes
    full = state(sessions[0])
    for session in sessions:
        assert session.undo()
        assert state(session) == empty
        assert session.redo()
        session.close()
    reopened = [Session(picture, name, journal=tmp_path / name) for name in ("at once", "prepared")]
    for session in reopened:
        assert state(session) == full
        assert session.undo()
        assert state(session) == empty
        session.close()


def test_a_change_prepared_for_an_earlier_document_is_refused() -> None:
    session = Session(np.zeros((*HW, 3), np.uint8) + np.arange(3, dtype=np.uint8), "i")
    change = session.proposals.replace(squares(5))
    prepared = run(change.prepare())
    session.paint(*np.indices((9, 9)).reshape(2, -1), 1)
    before = state(session)
    assert change.take(prepared) is None
    assert state(session) == before
    added = change.take(run(change.prepare()))
    assert added is not None
    assert len(added) == 5
    messages: list[str] = []
    session.message.connect(messages.append)
    empty = Session(np.zeros((*HW, 3), np.uint8) + np.arange(3, dtype=np.uint8), "i")
    empty.message.connect(messages.append)
    nothing = empty.proposals.replace(NewObjects((), (), "h"))
    assert nothing.take(run(nothing.prepare())) == []
    assert messages == ["Nothing was found, so nothing was added."]


def test_a_change_that_cannot_be_saved_is_not_applied(small: Path) -> None:
    session = Session(np.zeros((*HW, 3), np.uint8) + np.arange(3, dtype=np.uint8), "i", journal=small / "j")
    change = session.proposals.replace(squares(60))
    prepared = run(change.prepare())
    before = state(session)
    filler = small_disk.fill(small)
    with pytest.raises(StorageError, match="could not be saved and was not applied"):
        change.take(prepared)
    assert state(session) == before
    filler.unlink()
    added = change.take(prepared)
    assert added is not None
    assert len(added) == 60
    session.close()


# Thresholds


def test_a_threshold_per_class_and_a_minimum_area() -> None:
    segmentation = result()
    (
        segmentation.labels[10:20, 10:20],
        segmentation.labels[40:50, 40:50],
        segmentation.labels[60:62, 60:62],
    ) = 1, 2, 2
    segmentation.confidence[10:20, 10:15], segmentation.confidence[40:50, 40:50] = 0.4, 0.4
    new = from_segmentation(segmentation, ResultFilter(5, {"gland": 0.5}))
    assert [(obj.class_id, obj.mask.area_px) for obj in new.objects] == [(1, 50), (2, 100)]
    assert [round(obj.score or 0, 2) for obj in new.objects] == [1.0, 0.4]


# Uncertain regions


def test_regions_ranked_by_entropy() -> None:
    segmentation = result(0.99)
    segmentation.confidence[64:128, 128:192] = 0.5
    segmentation.confidence[0:64, 0:64] = 0.8
    first, second, *rest = uncertain_regions("entropy", HW, nothing, [segmentation], region_px=64)
    assert first.box == (64, 128, 128, 192)
    assert first.score == pytest.approx(1.0)
    assert first.centre_rc == (96, 160)
    assert second.box == (0, 0, 64, 64)
    assert second.score == pytest.approx(-(0.8 * np.log2(0.8) + 0.2 * np.log2(0.2)), abs=1e-6)
    assert len(rest) == 4
    segmentation.probabilities = np.zeros((3, *HW), np.float16)
    segmentation.probabilities[0] = 1
    segmentation.probabilities[:, 0:64, 64:128] = 1 / 3
    (best,) = uncertain_regions("entropy", HW, nothing, [segmentation], region_px=64, count=1)
    assert best.box == (0, 64, 64, 128)
    assert best.score == pytest.approx(1.0, abs=1e-3)


def test_verified_pixels_are_certain() -> None:
    segmentation = result(0.5)

    def verified(box: tuple[int, int, int, int]) -> np.ndarray:
        area = np.zeros(HW, dtype=bool)
        area[:64, :96] = True
        return area[box[0] : box[2], box[1] : box[3]]

    regions = uncertain_regions("entropy", HW, verified, [segmentation], region_px=64)
    assert {region.box for region in regions if region.score > 0.99} == {(0, 128, 64, 192)} | {
        (64, col, 128, col + 64) for col in (0, 64, 128)
    }
    assert (0, 0, 64, 64) not in {region.box for region in regions}
    assert regions[-1].score == pytest.approx(0.5)


def test_regions_ranked_by_disagreement_on_class_names() -> None:
    first, second = result(), result()
    second.classes = (CLASSES[0], ClassInfo(2, "gland", (9, 9, 9)))
    first.labels[:64, :64], second.labels[:64, :64] = 1, 2
    first.labels[64:96, 64:128] = 2
    (region,) = uncertain_regions("disagreement", HW, nothing, [first, second], region_px=64)
    assert (region.box, region.score) == ((64, 64, 128, 128), pytest.approx(0.5))
    with pytest.raises(
        ImageError, match=r"needs the results of 2 head\(s\), but this part of the image has 1"
    ):
        uncertain_regions("disagreement", HW, nothing, [first])


def test_regions_ranked_by_distance_from_the_verified_area() -> None:
    session = Session(np.zeros((*HW, 3), np.uint8), "slide", None, CLASSES[1:])
    regions = uncertain_regions("distance", HW, session.document.verified, region_px=64)
    assert {region.score for region in regions} == {1.0}
    session.area.mark((0, 0, 64, 64))
    regions = uncertain_regions("distance", HW, session.document.verified, region_px=64)
    assert (0, 0, 64, 64) not in [region.box for region in regions]
    assert regions[0].box[1] == 128
    assert regions[-1].score < 0.8
    with pytest.raises(ImageError, match="segment this image"):
        uncertain_regions("entropy", (9, 9), session.document.verified, [result()])


# Classes by similarity


def test_cell_weights_are_shares_of_the_mask_pixels() -> None:
    frame = whole((128, 128))
    weights = cell_weights(block(0, 0, 2, 4), frame).reshape(64, 64)
    np.testing.assert_allclose(weights[0, :2], [0.5, 0.5])
    assert weights.sum() == pytest.approx(1)


def test_targets_get_the_class_of_their_nearest_examples() -> None:
    examples = np.eye(3, dtype=np.float32)
    targets = np.array([[0.9, 0.1, 0], [0, 0.1, 0.95]], dtype=np.float32)
    guesses = classify(targets, examples, [5, 7, 9], neighbours=2)
    assert [guess.class_id for guess in guesses] == [5, 9]
    assert all(guess.share > 0.9 for guess in guesses)


def test_objects_of_segment_everything_are_classified_by_similarity() -> None:
    rng = np.random.default_rng(0)
    pixels = np.full((256, 256, 3), 230, np.uint8)
    colours = {1: (120, 40, 150), 2: (220, 40, 60)}
    masks, truth = [], []
    for number in range(16):
        row, col, class_id = 64 * (number // 4) + 12, 64 * (number % 4) + 12, 1 + number % 2
        masks.append((block(row, col, 40, 40), 0.9 - number / 100))
        truth.append(class_id)
        pixels[row : row + 40, col : col + 40] = colours[class_id]
    pixels = np.clip(pixels + rng.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)
    session = Session(pixels, "cells", patch_model(), CLASSES[1:])
    session.proposals.everything(masks, "everything").apply()
    with pytest.raises(PromptError, match="classify at least one"):
        run(session.proposals.classify_job())
    expected = {
        session.document.object_at(mask.row + 5, mask.col + 5): class_id
        for (mask, _), class_id in zip(masks, truth, strict=True)
    }
    assert len(expected) == 16
    assert {obj.class_id for obj in session.document.objects.values()} == {3}
    by_hand = [
        next(object_id for object_id, class_id in expected.items() if class_id == wanted) for wanted in (1, 2)
    ]
    for object_id in by_hand:
        session.objects.reclassify((object_id,), expected[object_id])
    before = {obj.id: obj.class_id for obj in session.document.objects.values()}
    session.proposals.apply_guesses(run(session.proposals.classify_job()))
    assert {obj.id: obj.class_id for obj in session.document.objects.values()} == expected
    assert not any(
        session.document.objects[object_id].reviewed for object_id in expected if object_id not in by_hand
    )
    session.undo()
    assert {obj.id: obj.class_id for obj in session.document.objects.values()} == before

    guesses = run(session.proposals.classify_job())
    late = next(object_id for object_id in expected if object_id not in by_hand)
    session.objects.reclassify((late,), 3 - expected[late])
    session.proposals.apply_guesses(guesses)
    assert session.document.objects[late].class_id == 3 - expected[late], (
        "a class set by the user meanwhile stays"
    )


# Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.png")
    (images / "notes.txt").write_text("no image")
    return images


def test_a_queue_restores_states_and_the_open_image(folder: Path, tmp_path: Path) -> None:
    queue = FolderQueue(folder, tmp_path / "state")
    assert [entry.path.name for entry in queue.entries] == ["0.png", "1.png", "2.png", "3.png"]
    assert queue.previous() is None
    queue.touch("0.png")
    queue.mark("0.png", "done")
    assert queue.touch("0.png").state == "done"
    assert queue.next() is not None
    assert queue.upcoming is not None
    assert queue.upcoming.path.name == "2.png"
    queue.mark("2.png", "untouched", 0.7)
    queue.mark("3.png", "in progress", 0.9)
    queue.mark("1.png", "unsure")
    assert queue.progress == {"untouched": 1, "in progress": 1, "done": 1, "unsure": 1}
    again = FolderQueue(folder, tmp_path / "state")
    assert again.entries == queue.entries
    assert again.current.path.name == "1.png"
    assert [entry.path.name for entry in again.to_review()] == ["3.png", "2.png"]
    assert [again.next() and again.current.path.name for _ in range(3)] == ["2.png", "3.png", None]
    assert again.upcoming is None
    assert again.open("0.png").path.name == "0.png"


def test_two_queues_on_one_folder_keep_the_states_of_each_other(folder: Path, tmp_path: Path) -> None:
    queues = [FolderQueue(folder, tmp_path / "state") for _ in range(2)]

    def mark(number: int) -> None:
        for _ in range(5):
            queues[number % 2].mark(f"{number}.png", "done", number / 10)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(mark, range(4)))
    queues[0].next()
    queues[1].touch("0.png")
    again = FolderQueue(folder, tmp_path / "state")
    assert [(entry.state, entry.uncertainty) for entry in again.entries] == [
        ("done", n / 10) for n in range(4)
    ]
    assert again.current.path.name == "1.png"
    again.file.unlink()
    queues[1].mark("2.png", "unsure")
    assert [entry.state for entry in FolderQueue(folder, tmp_path / "state").entries] == [
        *("done", "done", "unsure", "done")
    ], "a queue restores its states if the file was deleted"


def test_a_full_disk_leaves_the_queue_unchanged(folder: Path, small: Path) -> None:
    queue = FolderQueue(folder, small / "state")
    queue.next()
    (small / "filler").write_bytes(bytes(small_disk.SIZE_BYTES - 16 * 1024))
    with contextlib.suppress(OSError), (small / "rest").open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(512))
    for move in (queue.next, lambda: queue.open("3.png"), lambda: queue.mark("1.png", "done")):
        with pytest.raises(StorageError, match="free some space"):
            move()
        assert queue.current == Entry(queue.folder / "1.png", "untouched")
    assert FolderQueue(folder, small / "state").current == queue.current


def test_images_may_change_and_a_damaged_state_file_is_renamed(folder: Path, tmp_path: Path) -> None:
    queue = FolderQueue(folder, tmp_path / "state")
    queue.mark("0.png", "done")
    queue.open("3.png")
    (folder / "3.png").unlink()
    (folder / "00.png").write_bytes((folder / "1.png").read_bytes())
    again = FolderQueue(folder, tmp_path / "state")
    assert [entry.state for entry in again.entries] == ["done", "untouched", "untouched", "untouched"]
    assert again.current.path.name == "0.png"
    again.file.write_text("{")
    fresh = FolderQueue(folder, tmp_path / "state")
    assert {entry.state for entry in fresh.entries} == {"untouched"}
    assert again.file.with_suffix(".unreadable").read_text() == "{"
    with pytest.raises(UnknownNameError, match="no state 'finished'"):
        queue.mark("0.png", "finished")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"'9\.png'"):
        queue.mark("9.png", "done")
    for bad in (tmp_path / "none", tmp_path / "state"):
        with pytest.raises(ImageError, match=r"no images|does not exist"):
            FolderQueue(bad, tmp_path / "state")


def test_the_upcoming_image_is_encoded_in_advance(folder: Path, tmp_path: Path) -> None:
    queue, model = FolderQueue(folder, tmp_path / "state"), patch_model()
    job = queue.encode_ahead_job(model)
    assert job is not None
    assert run(job) == 1
    passes = model.encoder.passes  # type: ignore[attr-defined]
    entry = queue.next()
    assert entry is not None
    session = Session(np.asarray(Image.open(entry.path)), "1", model)
    run(session.prompts.encode_job())
    assert model.encoder.passes == passes == 1  # type: ignore[attr-defined]


# Stages


def test_the_automatic_stage_proposes_on_every_image_and_sorts_the_review(
    folder: Path, tmp_path: Path
) -> None:
    queue = FolderQueue(folder, tmp_path / "state")
    queue.mark("0.png", "done")
    (folder / "2.png").write_bytes(b"no image")
    asked: list[int] = []

    def segment(image: LoadedImage) -> Any:
        pixels = image.pixels
        asked.append(int(pixels[0, 0, 0]))
        yield Progress(0, 1, "Segmenting", "tiles")
        confidence = 0.9 if len(asked) == 1 else 0.6
        segmentation = Result(np.zeros(pixels.shape[:2], np.uint8), np.full(pixels.shape[:2], confidence))
        segmentation.labels[2:8, 2:8] = 1
        return segmentation

    classes = (ClassInfo(3, "Gland", (9, 9, 9)), ClassInfo(5, "nerve", (7, 7, 7)))
    folder_run = run(automatic_job(queue, segment, tmp_path / "sessions", classes=classes))
    uncertainty = folder_run.uncertainty
    assert list(uncertainty) == ["1.png", "3.png"]
    assert list(folder_run.skipped) == ["2.png"]
    assert "2.png" in folder_run.skipped["2.png"]
    assert uncertainty["3.png"] > uncertainty["1.png"] > 0
    assert [entry.path.name for entry in queue.to_review()] == ["3.png", "1.png", "2.png"]
    pixels = np.asarray(Image.open(folder / "3.png"))
    session = Session(pixels, "3", journal=journal_path(pixels, tmp_path / "sessions"))
    (row,) = session.objects.rows()
    assert (row.source, row.class_name, row.area_px) == ("head", "Gland", 36)
    assert session.classes.snapshot[:2] == classes, "the same initial classes as when the image is opened"
    assert not session.area.mask().any()
    messages: list[str] = []
    session.message.connect(messages.append)
    again = Result(np.zeros((20, 30), np.uint8), np.ones((20, 30)))
    assert session.proposals.offer(again) == []
    assert "switched off" in messages[0]
    assert len(session.objects.rows()) == 1
    session.proposals.stage = "semi-automatic"
    session.proposals.offer(again)
    assert session.objects.rows() == []
    session.undo()
    session.area.complete((0, 0, 20, 30))
    session.proposals.offer(again)
    assert len(session.objects.rows()) == 1, "objects in the verified area stay"


def test_images_marked_during_the_run_are_left_alone(folder: Path, tmp_path: Path) -> None:
    queue = FolderQueue(folder, tmp_path / "state")

    def segment(image: LoadedImage) -> Any:
        yield Progress(0, 1, "Segmenting", "tiles")
        hw = image.pixels.shape[:2]
        return Result(np.ones(hw, np.uint8), np.full(hw, 0.6))

    job = automatic_job(queue, segment, tmp_path / "sessions")
    next(job)
    queue.mark("0.png", "unsure")  # while it is being segmented
    queue.mark("2.png", "done")
    uncertainty = run(job).uncertainty
    assert list(uncertainty) == ["1.png", "3.png"]
    states = {entry.path.name: entry.state for entry in queue.entries}
    assert states == {"0.png": "unsure", "1.png": "untouched", "2.png": "done", "3.png": "untouched"}
    for name in ("0.png", "2.png"):
        pixels = np.asarray(Image.open(folder / name))
        assert not journal_path(pixels, tmp_path / "sessions").exists()


# Training samples


def test_a_newer_training_sample_replaces_the_earlier_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*HW, 3), dtype=np.uint8)
    session = Session(image, "slide 7", disc_model(), CLASSES[1:])
    session.paint(*np.nonzero(block(10, 10, 20, 20).to_dense(HW)), 2)
    session.area.mark((0, 0, 50, 60))
    entry = session.files.save_to_dataset(tmp_path / "data", group="case 1", mpp=0.5)
    assert (entry.revision, entry.group, entry.mpp) == (1, "case 1", 0.5)
    item = DatasetFolder.open(tmp_path / "data").read("slide 7")
    np.testing.assert_array_equal(item.pixels, image)
    np.testing.assert_array_equal(item.labels, np.asarray(session.document.class_map))
    assert item.instances is not None
    np.testing.assert_array_equal(item.instances, dense := np.asarray(session.document.instance_map))
    assert dense.max() == 1
    np.testing.assert_array_equal(item.annotated, session.area.mask())
    assert item.annotated.sum() == 50 * 60
    assert item.provenance["annotations"]["1"]["source"] == "brush"
    assert session.files.save_to_dataset(tmp_path / "data", group="case 1", mpp=0.5).revision == 1
    session.objects.delete((1,))
    assert session.files.save_to_dataset(tmp_path / "data", group="case 1", mpp=0.5).revision == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dataset.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(DatasetError):
        session.files.save_to_dataset(tmp_path / "other")


def test_a_review_goes_from_the_most_uncertain_image_to_the_least_and_back(
    folder: Path, tmp_path: Path
) -> None:
    queue = FolderQueue(folder, tmp_path / "state")
    for name, uncertainty in (("1.png", 0.2), ("2.png", 0.9), ("3.png", 0.5)):
        queue.mark(name, None, uncertainty)
    queue.by_uncertainty = True

    def walk(step: Any) -> str:
        entry = step()
        return "end" if entry is None else str(entry.path.stem)

    assert queue.current.path.stem == "0", "the image without a result is open first"
    assert queue.upcoming is not None
    assert queue.upcoming.path.stem == "2"
    assert [walk(queue.next) for _ in range(3)] == ["2", "3", "1"]
    assert [walk(queue.previous) for _ in range(3)] == ["3", "2", "end"]
    queue.mark("2.png", "done")
    assert walk(queue.next) == "3"
    queue.mark("3.png", "done")
    assert walk(queue.next) == "1"
    assert walk(queue.next) == "0", "the image without a result comes last"
    assert walk(queue.next) == "1"
    queue.mark("0.png", "unsure")
    assert walk(queue.next) == "end", "no other image awaits review"
    assert walk(queue.previous) == "3", "images that are done can be opened again"
    queue.by_uncertainty = False
    assert walk(queue.next) == "end"
    assert walk(queue.previous) == "2"


# Classes from texts


def test_texts_turn_proposals_into_proposals_with_a_class(tmp_path: Path) -> None:
    """The change is one undo step, keeps what a person reviewed or changed, and survives a restart."""
    journal = tmp_path / "journal"
    pixels = np.random.default_rng(2).integers(0, 256, (*HW, 3), dtype=np.uint8)
    session = Session(pixels, "a", journal=journal)
    masks = [(block(10 + 40 * (n // 4), 10 + 40 * (n % 4), 30, 24), 0.5) for n in range(8)]
    session.proposals.everything(masks, "a model").apply()
    ids = sorted(session.document.objects)
    session.objects.flag(ids[:1], "reviewed", True)
    session.objects.reclassify(ids[:1], session.classes.add("gland").id)
    before = state(session)
    with pytest.raises(PromptError, match="give at least one class"):
        run(session.proposals.classify_by_text_job(pixels, {}, _SameColour()))
    prompts = {"red": "red", "green": "green", "gland": "blue"}
    result = run(session.proposals.classify_by_text_job(pixels, prompts, _SameColour()))
    assert len(result.matches) == 7
    session.objects.flag(ids[1:2], "unsure", True)
    unsure = state(session)
    found = session.proposals.apply_texts(result).apply()
    assert len(found) == 6
    assert {(obj.source, obj.trust, obj.model) for obj in found} == {("text", 0, "by colour")}
    names = {obj.box: session.classes.by_id(obj.class_id).name for obj in found}
    for obj, match in result.matches[1:]:
        assert names[obj.box] == match.name
    assert session.document.objects[ids[0]].class_id == session.classes.by_name("gland").id
    session.undo()
    assert state(session) == unsure
    session.undo()
    assert state(session) == before
    session.redo()
    session.redo()
    after = state(session)
    session.close()
    with contextlib.closing(Session(pixels, "a", journal=journal)) as again:
        assert state(again) == after
        again.proposals.replace(squares(3)).apply()  # a later result of a head replaces unreviewed ones
        assert "text" not in {obj.source for obj in again.document.objects.values()}


class _SameColour:
    """A text model that compares the mean colour of an image with the name of a colour."""

    name, scale = "by colour", 10.0

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        return np.array(
            [[colour in text for colour in ("red", "green", "blue")] for text in texts], np.float32
        )

    def embed_images(self, images: list[np.ndarray]) -> np.ndarray:
        means = np.stack([image.mean(axis=(0, 1)) - 127 for image in images])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
