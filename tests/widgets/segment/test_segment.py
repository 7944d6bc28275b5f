"""The Auto-segment dock: a region alone, filters without running the head again, uncertain regions, everything."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_sampath.arrays import ClassInfo
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.widgets.viewer.prefetch import REST_MS
from support.event_loop import assert_alive, longest_stalls
from support.models.patches import patch_model, picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.gui

DISC = ClassInfo(1, "object", (0, 158, 115))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear head that finds purple discs on pink."""
    from napari_sampath.training import TrainingConfig, open_dataset, train

    folder = DatasetFolder.create(tmp_path_factory.mktemp("train") / "discs", (DISC,))
    for number in range(5):
        folder.save_image(Snapshot(f"disc {number}", *picture(number)))
    config = TrainingConfig(epochs=20, batch_size=2, patience=0)
    return train(
        open_dataset(folder.path), "linear", config, patch_model(), folder.path / "discs.safetensors"
    )


@pytest.fixture
def open_segment(
    open_bench: Callable[..., Any], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Any, Any]]:
    def opened(pixels: np.ndarray, model: Any = None, **image: Any) -> tuple[Any, Any]:
        from napari_sampath.widgets.segment import dock as module

        b = open_bench(pixels, model or patch_model(), **image)
        dock = module.SegmentDock(b.viewer, b.bench)
        b.viewer.window.add_dock_widget(dock, name="Auto-segment", area="right", tabify=True)
        b.driver.settle()
        monkeypatch.setattr(module.QFileDialog, "getOpenFileName", lambda *_: (str(bundle), ""))
        b.driver.press(dock.file_button)
        assert dock.head.currentData() == str(bundle)
        return b, dock

    return opened


def done(b: Any, dock: Any) -> None:
    b.driver.press(dock.run_button)
    wait_until(lambda: not dock.runner.busy, 60, "the result")
    assert dock.result is not None, dock.status.message.text()


def passes_once_quiet(b: Any) -> int:
    """Wait until what is in view is prepared for clicks; return how many tiles were encoded."""
    passes = -1
    while passes != b.model.encoder.passes:
        passes = b.model.encoder.passes
        QTest.qWait(3 * REST_MS)
    return passes


def test_a_box_alone_is_segmented_and_lies_where_it_was_drawn(
    open_segment: Callable[..., Any], bundle: Path
) -> None:
    from napari_sampath.predict import segment

    pixels, _ = picture(3, (120, 160))
    b, dock = open_segment(pixels, scale=(2.0, 2.0), translate=(5, 7))
    dock.where.setCurrentIndex(dock.where.findData("box"))
    b.driver.press(dock.run_button)
    assert "draw a box" in dock.status.message.text()
    b.session.set_box(40, 30, 119, 99)
    done(b, dock)
    expected = segment(pixels, bundle, patch_model())
    layer = b.viewer.layers["Segmentation"]
    assert layer.data.shape == (70, 80)
    np.testing.assert_allclose(layer.data_to_world((0, 0)), b.image.data_to_world((30, 40)))
    b.driver.press(dock.add_button)
    wait_until(lambda: not dock.intake.busy, 20, "the annotations")
    classes = np.asarray(b.session.document.class_map)
    assert (classes[30:100, 40:120] == expected.labels[30:100, 40:120]).mean() > 0.98
    assert classes.any()
    assert not classes[:30].any()
    assert not classes[100:].any()
    assert not layer.visible


def test_on_a_large_image_only_what_is_in_view_is_computed(open_segment: Callable[..., Any]) -> None:
    from napari_sampath.widgets.canvas.viewport import box_in_view, look_at

    pixels = np.tile(picture(3, (400, 400))[0], (4, 4, 1))
    b, dock = open_segment(pixels)
    assert dock.where.currentData() == "view"
    assert box_in_view(b.viewer, b.image, b.session.hw) == (0, 0, 1600, 1600)
    look_at(b.viewer, b.image, (60, 70, 160, 170))
    r0, c0, r1, c1 = box_in_view(b.viewer, b.image, b.session.hw)
    assert r0 < 60 < 160 < r1 < 500
    assert c0 < 70 < 170 < c1 < 500
    before = passes_once_quiet(b)
    done(b, dock)
    assert dock.result.labels.shape == (r1 - r0, c1 - c0)
    assert b.model.encoder.passes - before <= 1, "of the four tiles of the image"


def test_filters_apply_without_running_the_head_again(open_segment: Callable[..., Any]) -> None:
    pixels, _ = picture(3, (120, 160))
    b, dock = open_segment(pixels)
    done(b, dock)
    found = dock.result.segmentation
    passes = b.model.encoder.passes
    (slider,) = dock.filters.sliders.values()
    slider.setValue(90)
    wait_until(lambda: dock.result.segmentation is found and not dock.runner.busy, 20, "the filter")
    wait_until(lambda: not (dock.result.labels[found.confidence < 0.9] == 1).any(), 20, "the filter")
    assert np.array_equal(b.viewer.layers["Segmentation"].data, dock.result.labels)
    assert (dock.result.labels == 1).any()
    assert set(b.bench.desk.filters[1].values()) == set(dock.filters.thresholds.values()), (
        "for the Folder dock"
    )
    dock.filters.size.setValue(10_000_000)
    wait_until(lambda: not dock.result.labels.any(), 20, "the least size")
    assert "0 pieces" in dock.summary.text()
    assert b.model.encoder.passes == passes
    dock.filters.size.setValue(16)
    slider.setValue(0)
    wait_until(lambda: (dock.result.labels == 1).sum() == (found.labels == 1).sum(), 20, "all of it again")


def touching() -> np.ndarray:
    """Two purple discs on pink that touch."""
    rows, cols = np.indices((120, 160))
    discs = [np.hypot(rows - 60, cols - centre) < 22 for centre in (55, 95)]
    return np.where((discs[0] | discs[1])[..., None], (120, 60, 140), (235, 200, 220)).astype(np.uint8)


def test_objects_that_touch_are_separate_annotations_where_the_user_wishes(
    open_segment: Callable[..., Any],
) -> None:
    b, dock = open_segment(touching())
    done(b, dock)
    assert len(dock.result.components.pieces) == 1, dock.summary.text()
    labels = dock.result.labels.copy()
    b.driver.press(dock.filters.apart)
    wait_until(lambda: len(dock.result.components.pieces) == 2, 20, "the pieces")
    assert "2 pieces" in dock.summary.text()
    assert np.array_equal(dock.result.labels, labels), "no pixel is lost where they are cut"
    b.driver.press(dock.add_button)
    wait_until(lambda: not dock.intake.busy, 20, "the annotations")
    objects = np.asarray(b.session.document.instance_map)
    assert objects[60, 55] != objects[60, 95]
    assert 0 not in (objects[60, 55], objects[60, 95])
    b.driver.press(dock.filters.apart)
    wait_until(lambda: len(dock.result.components.pieces) == 1, 20, "one piece again")


def test_what_is_wished_while_a_head_runs_is_done_with_its_result(
    open_segment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_sampath import heads

    b, dock = open_segment(touching())
    go_on, load = threading.Event(), heads.load_head

    def held(source: Any) -> Any:
        go_on.wait(60)
        return load(source)

    monkeypatch.setattr(heads, "load_head", held)
    b.driver.press(dock.run_button)
    b.driver.press(dock.filters.apart)
    wait_until(lambda: not dock.filters._timer.isActive(), 20, "the filters")
    assert dock.runner.busy, "the head goes on"
    assert dock.result is None
    go_on.set()
    wait_until(lambda: dock.result is not None and len(dock.result.components.pieces) == 2, 60, "two pieces")


def test_looking_elsewhere_does_not_cancel_a_head_that_runs(
    open_segment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_sampath import heads

    b, dock = open_segment(np.tile(picture(3, (400, 400))[0], (8, 8, 1)))
    go_on, load = threading.Event(), heads.load_head

    def held(source: Any) -> Any:
        go_on.wait(60)
        return load(source)

    monkeypatch.setattr(heads, "load_head", held)
    b.viewer.scene.camera.zoom = 4.0
    b.viewer.scene.camera.center = (0, 300, 300)
    b.driver.press(dock.run_button)
    b.viewer.scene.camera.center = (0, 3000, 3000)
    wait_until(lambda: b.session.preview(3000, 3000) is not None, 20, "the tiles there")
    assert dock.runner.busy, "the head goes on"
    go_on.set()
    wait_until(lambda: not dock.runner.busy, 60, "the result")
    assert dock.result is not None, dock.status.message.text()


def test_a_newer_result_replaces_proposals_and_no_correction(open_segment: Callable[..., Any]) -> None:
    pixels, labels = picture(3, (120, 160))
    b, dock = open_segment(pixels)
    done(b, dock)
    b.driver.press(dock.add_button)
    wait_until(lambda: not dock.intake.busy, 20, "the annotations")
    head = {one.id for one in b.session.document.objects.values()}
    rows, cols = np.nonzero(labels)
    b.session.classes.add("fat")
    b.session.paint(rows[:50], cols[:50], 2)
    done(b, dock)
    b.driver.press(dock.add_button)
    wait_until(lambda: not dock.intake.busy, 20, "the annotations")
    assert not head & set(b.session.document.objects)
    assert (np.asarray(b.session.document.class_map)[rows[:50], cols[:50]] == 2).all()
    assert b.viewer.layers["Segmentation"] in b.viewer.layers
    assert sum(layer.name.startswith("Segmentation") for layer in b.viewer.layers) == 1


def test_what_a_person_does_while_a_result_is_taken_over_stays(
    open_segment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stroke comes between: the result is worked out anew around it."""
    pixels, _ = picture(3, (120, 160))
    b, dock = open_segment(pixels)
    done(b, dock)
    go_on, work_out = threading.Event(), b.session.propose_job

    def slow(found: Any) -> Any:
        job = work_out(found)

        def waits() -> Any:
            go_on.wait(20)
            return (yield from job)

        return waits()

    monkeypatch.setattr(b.session, "propose_job", slow)
    b.driver.press(dock.add_button)
    assert dock.intake.busy, "it is worked out in a thread"
    assert not dock.add_button.isEnabled()
    b.session.classes.add("fat")
    b.session.paint(*np.indices((30, 160)).reshape(2, -1), 2)
    dock.filters.size.setValue(17)
    go_on.set()
    wait_until(lambda: "Added" in dock.status.message.text(), 20, "the annotations, whatever is filtered")
    assert (b.layers.classes.data[:30] == 2).all()
    assert (b.layers.classes.data[30:] == 1).any()
    assert b.session.undo()
    assert set(np.unique(b.layers.classes.data)) == {0, 2}


def test_a_result_waits_until_the_brush_is_lifted(open_segment: Callable[..., Any]) -> None:
    from benchmarks.gui_driver import LEFT, NONE
    from qtpy.QtTest import QTest

    pixels, _ = picture(3, (120, 160))
    b, dock = open_segment(pixels)
    done(b, dock)
    b.session.active_class = b.session.classes.add("fat").id
    b.annotator.mode = type(b.annotator.mode)("brush")
    b.driver.settle()
    b.driver.move(20, 5)
    QTest.mousePress(b.driver.native, LEFT, NONE, b.driver.at(20, 5))
    for x in range(20, 60, 4):
        b.driver._move(b.driver.at(x, 5), LEFT, NONE)
    dock.add_button.click()
    wait_until(lambda: not dock.intake.runner.busy, 20, "the result to be worked out")
    assert dock.intake.busy, "the brush is down"
    b.driver._move(b.driver.at(100, 5), LEFT, NONE)
    QTest.mouseRelease(b.driver.native, LEFT, NONE, b.driver.at(100, 5))
    wait_until(lambda: not dock.intake.busy, 20, "the annotations")
    fat = b.session.active_class
    assert (b.layers.classes.data[5, 22:98] == fat).all(), "all of the stroke"
    assert (b.layers.classes.data != fat).any()
    assert {one.source for one in b.session.document.objects.values()} == {"brush", "head"}
    assert np.array_equal(b.layers.classes.data, np.asarray(b.session.document.class_map))
    b.session.active_class = 1
    b.annotator.mode = type(b.annotator.mode)("point")


def test_a_large_change_is_painted_in_strips_and_never_under_a_brush(
    open_segment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_sampath.widgets.canvas.napari_internals import chunked_paint as strips

    pixels, _ = picture(3, (120, 160))
    b, _dock = open_segment(pixels)
    monkeypatch.setattr(strips, "STRIP_PX", 160 * 50)
    b.session.paint(*np.indices((120, 160)).reshape(2, -1), 1)
    assert not b.layers.classes.data.all(), "the rest comes when the window has had its turn"
    wait_until(lambda: b.layers.classes.data.all() and b.layers.objects.data.all(), 20, "the strips")
    b.session.undo()
    b.layers.classes.mode = "paint"
    b.layers.classes.brush_size = 3
    b.viewer.layers.selection.active = b.layers.classes
    b.driver.click(80, 100)
    expected = np.asarray(b.session.document.class_map)
    assert 0 < np.count_nonzero(expected) < 40, "what was not painted yet is no stroke"
    wait_until(lambda: np.array_equal(b.layers.classes.data, expected), 20, "the stroke")
    b.driver.click(80, 100)
    wait_until(lambda: not b.annotator.display.drawing, 20, "the end of a stroke that changes nothing")


def test_a_key_leads_from_one_uncertain_region_to_the_next(open_segment: Callable[..., Any]) -> None:
    from napari_sampath.widgets.canvas.viewport import centre_of_view

    pixels, _ = picture(3, (128, 160))
    b, dock = open_segment(pixels)
    b.driver.key(Qt.Key.Key_N)
    wait_until(lambda: "segment it first" in dock.status.message.text(), 20, "the sentence")
    done(b, dock)
    seen = []
    for _ in range(3):
        before = dock.uncertain.region
        b.driver.key(Qt.Key.Key_N)
        wait_until(lambda before=before: dock.uncertain.region not in (None, before), 20, "a region")
        region = dock.uncertain.region
        np.testing.assert_allclose(centre_of_view(b.viewer, b.image), region.centre_rc, atol=1)
        seen.append(region)
    assert len({one.box for one in seen}) == 3
    assert [one.score for one in seen] == sorted((one.score for one in seen), reverse=True)
    b.session.area.complete((0, 0, *b.session.hw))
    b.driver.key(Qt.Key.Key_N)
    wait_until(lambda: "No uncertain region is left" in dock.status.message.text(), 20, "the sentence")
    b.session.undo()
    dock.uncertain.by.setCurrentIndex(dock.uncertain.by.findData("distance"))
    b.driver.press(dock.uncertain.next_button)
    wait_until(lambda: "far from what is annotated" in dock.status.message.text(), 20, "the sentence")


def test_the_accepted_head_is_the_one_that_runs_next(open_segment: Callable[..., Any], bundle: Path) -> None:
    pixels, _ = picture(3, (120, 160))
    b, dock = open_segment(pixels)
    b.bench.desk.choose(bundle.parent)
    wait_until(lambda: b.bench.desk.heads is not None, 60, "the dataset")
    heads = b.bench.desk.heads
    path = heads.new_path("linear")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bundle.read_bytes())
    heads.offer(path)
    heads.accept()
    b.bench.desk.changed.emit()
    assert dock.head.currentText() == f"{path.stem} (yours)"
    done(b, dock)
    assert (dock.result.labels == 1).any()


def test_everything_is_found_and_classified_by_likeness(
    open_segment: Callable[..., Any], tissue: np.ndarray
) -> None:
    from napari_sampath import load_model

    pixels = np.tile(tissue, (2, 1, 1))
    b, dock = open_segment(pixels, load_model("sampath-tiny", device="cpu"))
    dock.everything.points.setValue(6)
    b.driver.press(dock.everything.find_button)
    wait_until(lambda: not dock.runner.busy and not dock.intake.busy, 120, "everything")
    assert "Found" in dock.status.message.text()
    on_disc = [b.session.objects.at(row, col) for row in (60, 180) for col in (50, 115)]
    assert all(on_disc), "each disc is an object"
    assert {one.class_id for one in b.session.document.objects.values()} == {
        b.session.classes.find("unclassified").id
    }
    b.driver.press(dock.everything.like_button)
    wait_until(lambda: not dock.runner.busy, 60, "the sentence")
    assert "classify at least one" in dock.status.message.text()
    b.session.reclassify(on_disc[0], 1)
    b.driver.press(dock.everything.like_button)
    wait_until(lambda: not dock.runner.busy, 60, "the classes")
    assert {b.session.document.objects[one].class_id for one in on_disc} == {1}


@pytest.mark.alone
def test_the_window_lives_while_a_head_segments(open_segment: Callable[..., Any]) -> None:
    """The longest stall until the result is found: under 100 ms."""
    from benchmarks.stalls import StallMeter

    b, dock = open_segment(np.tile(picture(3, (400, 400))[0], (4, 4, 1)))
    dock.where.setCurrentIndex(dock.where.findData("image"))

    def segmenting() -> float:
        found: list[float] = []
        meter = StallMeter()
        dock._on_done = lambda *_: found.append(meter.stop())
        b.driver.press(dock.run_button)
        wait_until(lambda: bool(found), 60, "the result")
        return found[0]

    assert_alive(longest_stalls(segmenting))
