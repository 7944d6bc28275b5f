"""The Auto-segment dock: regions, filters, uncertain regions, segment everything."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from napari_sampath.arrays import ClassInfo
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.predict.head_tiles import head_tiles
from napari_sampath.widgets.viewer.prefetch import SETTLE_MS
from support.event_loop import assert_alive, hold_changes, longest_stalls
from support.models.patches import disc_image, patch_model

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
        folder.save_image(Snapshot(f"disc {number}", *disc_image(number)))
    config = TrainingConfig(epochs=20, batch_size=2, patience=0)
    return train(
        open_dataset(folder.path), "linear", config, patch_model(), folder.path / "discs.safetensors"
    )


@pytest.fixture
def open_segment(
    open_window: Callable[..., Any], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Any, Any]]:
    def opened(pixels: np.ndarray, model: Any = None, **image: Any) -> tuple[Any, Any]:
        from napari_sampath.widgets.segment import dock as module

        window = open_window(pixels, model or patch_model(), **image)
        dock = module.SegmentDock(window.viewer, window.state)
        window.viewer.window.add_dock_widget(dock, name="Auto-segment", area="right", tabify=True)
        window.driver.settle()
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(bundle), ""))
        window.driver.press(dock.head.file_button)
        assert dock.head.value() == str(bundle)
        return window, dock

    return opened


def done(window: Any, dock: Any) -> None:
    window.driver.press(dock.run_button)
    wait_until(lambda: not dock.runner.busy, 60, "the result")
    assert dock.result is not None, dock.status.message.text()


def test_the_size_of_structures_decides_the_tiles(open_segment: Callable[..., tuple[Any, Any]]) -> None:
    """The head was trained on images of 96 px, so its tiles have the smallest allowed side, and twice that if asked."""
    window, dock = open_segment(disc_image(1, (400, 400))[0])
    done(window, dock)
    assert dock.result.segmentation.tile_px == 128
    assert "tiles of 128 px." in dock.summary.text()
    dock.magnification.setFocus()
    QTest.keyClicks(dock.magnification, "twice")
    done(window, dock)
    assert dock.result.segmentation.tile_px == 192


def test_a_head_that_does_not_belong_is_named_before_the_run(
    open_segment: Callable[..., tuple[Any, Any]],
) -> None:
    window, dock = open_segment(disc_image(1, (400, 400))[0])
    wait_until(lambda: not dock.warning.runner.busy, 60, "the comparison")
    assert dock.warning.isHidden(), "bundles of few images have no statistics"
    dock.head.combo.setFocus()
    QTest.keyClicks(dock.head.combo, "gland-cnn")
    wait_until(lambda: bool(dock.warning.text.text()), 60, "the warning")
    assert dock.warning.text.text().startswith("'gland-cnn' was trained on images unlike this one: ")
    assert dock.warning.isVisible()
    done(window, dock)
    assert dock.warning.text.text() == dock.result.segmentation.warning, "the run compares the tissue, too"
    assert "unlike" not in dock.summary.text()
    window.driver.press(dock.head.file_button)
    assert dock.warning.isHidden()


def tiles_once_idle(window: Any) -> int:
    """Wait until the view is encoded; return the number of tiles encoded so far."""
    encoded = -1
    while encoded != window.model.encoder.passes:
        encoded = window.model.encoder.passes
        QTest.qWait(3 * SETTLE_MS)
    return encoded


def test_the_result_of_a_box_lies_in_the_box(open_segment: Callable[..., Any], bundle: Path) -> None:
    from napari_sampath.predict import segment

    pixels, _ = disc_image(3, (120, 160))
    window, dock = open_segment(pixels, scale=(2.0, 2.0), translate=(5, 7))
    dock.region.combo.setCurrentIndex(dock.region.combo.findData("box"))
    window.driver.press(dock.run_button)
    assert "draw a box" in dock.status.message.text()
    window.session.prompts.set_box(40, 30, 119, 99)
    done(window, dock)
    expected = segment(pixels, bundle, patch_model())
    layer = window.viewer.layers["Segmentation"]
    assert layer.data.shape == (70, 80)
    np.testing.assert_allclose(layer.data_to_world((0, 0)), window.image.data_to_world((30, 40)))
    window.driver.press(dock.add_button)
    wait_until(lambda: not dock.apply_queue.busy, 60, "the annotations")
    classes = np.asarray(window.session.document.class_map)
    assert (classes[30:100, 40:120] == expected.labels[30:100, 40:120]).mean() > 0.98
    assert classes.any()
    assert not classes[:30].any()
    assert not classes[100:].any()
    assert not layer.visible


def test_only_the_view_of_a_large_image_is_segmented(open_segment: Callable[..., Any]) -> None:
    from napari_sampath.widgets.canvas.viewport import box_in_view, look_at

    pixels = np.tile(disc_image(3, (400, 400))[0], (4, 4, 1))
    window, dock = open_segment(pixels)
    assert dock.region.combo.currentData() == "view"
    assert box_in_view(window.viewer, window.image, window.session.hw) == (0, 0, 1600, 1600)
    look_at(window.viewer, window.image, (60, 70, 160, 170))
    r0, c0, r1, c1 = box_in_view(window.viewer, window.image, window.session.hw)
    assert r0 < 60 < 160 < r1 < 500
    assert c0 < 70 < 170 < c1 < 500
    before = tiles_once_idle(window)
    done(window, dock)
    assert dock.result.labels.shape == (r1 - r0, c1 - c0)
    side = dock.result.segmentation.tile_px
    in_view, tiles = (len(head_tiles((1600, 1600), side, region)) for region in ((r0, c0, r1, c1), None))
    assert window.model.encoder.passes - before <= in_view < tiles / 4


def test_filters_apply_without_running_the_head_again(open_segment: Callable[..., Any]) -> None:
    pixels, _ = disc_image(3, (120, 160))
    window, dock = open_segment(pixels)
    done(window, dock)
    segmentation = dock.result.segmentation
    encoded = window.model.encoder.passes
    (slider,) = dock.filters.sliders.values()
    slider.setValue(90)
    wait_until(lambda: dock.result.segmentation is segmentation and not dock.runner.busy, 60, "the filter")
    wait_until(lambda: not (dock.result.labels[segmentation.confidence < 0.9] == 1).any(), 60, "the filter")
    assert np.array_equal(window.viewer.layers["Segmentation"].data, dock.result.labels)
    assert (dock.result.labels == 1).any()
    assert (
        window.state.training.result_filter.thresholds == dock.filters.value().thresholds == {"object": 0.9}
    )
    dock.filters.settings.widgets["min_area_px"].value = 10_000_000
    wait_until(lambda: not dock.result.labels.any(), 60, "the least size")
    assert "0 objects" in dock.summary.text()
    assert window.model.encoder.passes == encoded
    dock.filters.settings.widgets["min_area_px"].value = 16
    slider.setValue(0)
    wait_until(
        lambda: (dock.result.labels == 1).sum() == (segmentation.labels == 1).sum(),
        60,
        "the unfiltered result",
    )


def touching() -> np.ndarray:
    """Return an image with two touching purple discs on pink."""
    rows, cols = np.indices((120, 160))
    discs = [np.hypot(rows - 60, cols - centre) < 22 for centre in (55, 95)]
    return np.where((discs[0] | discs[1])[..., None], (120, 60, 140), (235, 200, 220)).astype(np.uint8)


def test_touching_objects_are_separated_on_request(open_segment: Callable[..., Any]) -> None:
    window, dock = open_segment(touching())
    done(window, dock)
    assert len(dock.result.objects.objects) == 1, dock.summary.text()
    labels = dock.result.labels.copy()
    window.driver.press(dock.filters.settings.widgets["separate_touching"].native)
    wait_until(lambda: len(dock.result.objects.objects) == 2, 60, "the objects")
    assert "2 objects" in dock.summary.text()
    assert np.array_equal(dock.result.labels, labels), "separating objects loses no pixel"
    window.driver.press(dock.add_button)
    wait_until(lambda: not dock.apply_queue.busy, 60, "the annotations")
    objects = np.asarray(window.session.document.instance_map)
    assert objects[60, 55] != objects[60, 95]
    assert 0 not in (objects[60, 55], objects[60, 95])
    window.driver.press(dock.filters.settings.widgets["separate_touching"].native)
    wait_until(lambda: len(dock.result.objects.objects) == 1, 60, "one object again")


def test_a_filter_changed_while_a_head_runs_applies_to_its_result(
    open_segment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_sampath import heads

    window, dock = open_segment(touching())
    go_on, load = threading.Event(), heads.load_head

    def held(source: Any) -> Any:
        go_on.wait(60)
        return load(source)

    monkeypatch.setattr(heads, "load_head", held)
    window.driver.press(dock.run_button)
    window.driver.press(dock.filters.settings.widgets["separate_touching"].native)
    wait_until(lambda: not dock.filters.debouncer._timer.isActive(), 60, "the filters")
    assert dock.runner.busy, "the head is still running"
    assert dock.result is None
    go_on.set()
    wait_until(lambda: dock.result is not None and len(dock.result.objects.objects) == 2, 60, "two pieces")


def test_moving_the_camera_does_not_cancel_a_running_head(
    open_segment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_sampath import heads

    window, dock = open_segment(np.tile(disc_image(3, (400, 400))[0], (8, 8, 1)))
    go_on, load = threading.Event(), heads.load_head

    def held(source: Any) -> Any:
        go_on.wait(60)
        return load(source)

    monkeypatch.setattr(heads, "load_head", held)
    window.viewer.scene.camera.zoom = 4.0
    window.viewer.scene.camera.center = (0, 300, 300)
    window.driver.press(dock.run_button)
    window.viewer.scene.camera.center = (0, 3000, 3000)
    wait_until(lambda: window.session.prompts.preview(3000, 3000) is not None, 60, "the tiles in view")
    assert dock.runner.busy, "the head is still running"
    go_on.set()
    wait_until(lambda: not dock.runner.busy, 60, "the result")
    assert dock.result is not None, dock.status.message.text()


def test_a_newer_result_replaces_proposals_but_no_corrections(open_segment: Callable[..., Any]) -> None:
    pixels, labels = disc_image(3, (120, 160))
    window, dock = open_segment(pixels)
    done(window, dock)
    window.driver.press(dock.add_button)
    wait_until(lambda: not dock.apply_queue.busy, 60, "the annotations")
    head = {obj.id for obj in window.session.document.objects.values()}
    rows, cols = np.nonzero(labels)
    window.session.classes.add("fat")
    window.session.paint(rows[:50], cols[:50], 2)
    done(window, dock)
    window.driver.press(dock.add_button)
    wait_until(lambda: not dock.apply_queue.busy, 60, "the annotations")
    assert not head & set(window.session.document.objects)
    assert (np.asarray(window.session.document.class_map)[rows[:50], cols[:50]] == 2).all()
    assert window.viewer.layers["Segmentation"] in window.viewer.layers
    assert sum(layer.name.startswith("Segmentation") for layer in window.viewer.layers) == 1


def test_edits_made_while_a_result_is_added_are_kept(
    open_segment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a stroke the change is prepared again on top of it."""
    pixels, _ = disc_image(3, (120, 160))
    window, dock = open_segment(pixels)
    done(window, dock)
    go_on = hold_changes(monkeypatch)
    window.driver.press(dock.add_button)
    assert dock.apply_queue.busy, "the change is prepared in a thread"
    assert not dock.add_button.isEnabled()
    window.session.classes.add("fat")
    window.session.paint(*np.indices((30, 160)).reshape(2, -1), 2)
    dock.filters.settings.widgets["min_area_px"].value = 17
    go_on.set()
    wait_until(lambda: "Added" in dock.status.message.text(), 60, "the annotations, whatever is filtered")
    assert (window.layers.classes.data[:30] == 2).all()
    assert (window.layers.classes.data[30:] == 1).any()
    assert window.session.undo()
    assert set(np.unique(window.layers.classes.data)) == {0, 2}


def test_a_result_waits_for_the_end_of_a_stroke(open_segment: Callable[..., Any]) -> None:
    from benchmarks.gui_driver import LEFT, NONE
    from qtpy.QtTest import QTest

    pixels, _ = disc_image(3, (120, 160))
    window, dock = open_segment(pixels)
    done(window, dock)
    window.session.active_class = window.session.classes.add("fat").id
    window.annotator.mode = type(window.annotator.mode)("brush")
    window.driver.settle()
    window.driver.move(20, 5)
    QTest.mousePress(window.driver.native, LEFT, NONE, window.driver.at(20, 5))
    for x in range(20, 60, 4):
        window.driver._move(window.driver.at(x, 5), LEFT, NONE)
    dock.add_button.click()
    wait_until(lambda: not dock.apply_queue.runner.busy, 60, "the result to be worked out")
    assert dock.apply_queue.busy, "the brush is down"
    window.driver._move(window.driver.at(100, 5), LEFT, NONE)
    QTest.mouseRelease(window.driver.native, LEFT, NONE, window.driver.at(100, 5))
    wait_until(lambda: not dock.apply_queue.busy, 60, "the annotations")
    fat = window.session.active_class
    assert (window.layers.classes.data[5, 22:98] == fat).all(), "the whole stroke is kept"
    assert (window.layers.classes.data != fat).any()
    assert {obj.source for obj in window.session.document.objects.values()} == {"brush", "head"}
    assert np.array_equal(window.layers.classes.data, np.asarray(window.session.document.class_map))
    window.session.active_class = 1
    window.annotator.mode = type(window.annotator.mode)("point")


def test_a_large_change_is_painted_in_chunks_and_never_during_a_stroke(
    open_segment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_sampath.widgets.canvas import chunked_paint

    pixels, _ = disc_image(3, (120, 160))
    window, _dock = open_segment(pixels)
    monkeypatch.setattr(chunked_paint, "STRIP_PX", 160 * 50)
    window.session.paint(*np.indices((120, 160)).reshape(2, -1), 1)
    assert not window.layers.classes.data.all(), "the rest is painted after other events"
    wait_until(
        lambda: window.layers.classes.data.all() and window.layers.objects.data.all(), 60, "the strips"
    )
    window.session.undo()
    window.layers.classes.mode = "paint"
    window.layers.classes.brush_size = 3
    window.viewer.layers.selection.active = window.layers.classes
    window.driver.click(80, 100)
    expected = np.asarray(window.session.document.class_map)
    assert 0 < np.count_nonzero(expected) < 40, "pixels that are not painted yet are not part of the stroke"
    wait_until(lambda: np.array_equal(window.layers.classes.data, expected), 60, "the stroke")
    window.driver.click(80, 100)
    wait_until(
        lambda: not window.annotator.layer_sync.drawing, 60, "the end of a stroke that changes nothing"
    )


def test_a_key_moves_to_the_next_uncertain_region(open_segment: Callable[..., Any]) -> None:
    from napari_sampath.widgets.canvas.viewport import centre_of_view

    pixels, _ = disc_image(3, (128, 160))
    window, dock = open_segment(pixels)
    window.driver.key(Qt.Key.Key_N)
    wait_until(lambda: "segment it first" in dock.status.message.text(), 60, "the sentence")
    done(window, dock)
    seen = []
    for _ in range(3):
        before = dock.uncertain.region
        window.driver.key(Qt.Key.Key_N)
        wait_until(lambda before=before: dock.uncertain.region not in (None, before), 60, "a region")
        region = dock.uncertain.region
        np.testing.assert_allclose(centre_of_view(window.viewer, window.image), region.centre_rc, atol=1)
        seen.append(region)
    assert len({region.box for region in seen}) == 3
    assert [region.score for region in seen] == sorted((region.score for region in seen), reverse=True)
    window.session.area.complete((0, 0, *window.session.hw))
    window.driver.key(Qt.Key.Key_N)
    wait_until(lambda: "No uncertain region is left" in dock.status.message.text(), 60, "the sentence")
    window.session.undo()
    dock.uncertain.reason.setCurrentIndex(dock.uncertain.reason.findData("distance"))
    window.driver.press(dock.uncertain.next_button)
    wait_until(lambda: "far from verified areas" in dock.status.message.text(), 60, "the sentence")

    # The next region of this image is not shown on another one.
    second, region = window.viewer.add_image(pixels[:, ::-1].copy(), name="second"), dock.uncertain.region
    wait_until(lambda: window.state.image is second and window.state.session is not None, 60, "the image")
    window.state.choose_image(window.image)
    dock.uncertain.next()
    window.state.choose_image(second)
    wait_until(lambda: not dock.uncertain.runner.busy, 60, "the regions")
    assert dock.uncertain.region is region


def test_the_accepted_head_is_selected(open_segment: Callable[..., Any], bundle: Path) -> None:
    pixels, _ = disc_image(3, (120, 160))
    window, dock = open_segment(pixels)
    window.state.training.choose(bundle.parent)
    wait_until(lambda: window.state.training.heads is not None, 60, "the dataset")
    heads = window.state.training.heads
    path = heads.new_path("linear")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bundle.read_bytes())
    heads.offer(path)
    heads.accept()
    window.state.training.changed.emit()
    assert dock.head.combo.currentText() == f"{path.stem} (yours)"
    done(window, dock)
    assert (dock.result.labels == 1).any()


def test_a_download_is_announced_by_the_button_that_starts_it(
    open_segment: Callable[..., Any], bundle: Path
) -> None:
    pixels, _ = disc_image(3, (120, 160))
    window, dock = open_segment(pixels)
    state = window.state
    card = state.catalogue.cards[0]
    state.catalogue = replace(state.catalogue, downloads={card.encoder: "358 MB, licence Apache-2.0"})
    texts = []
    for head in (card.head, str(bundle)):
        dock.head.setValue(head)
        dock.head.head_selected.emit()
        texts.append((dock.run_button.text(), "358 MB, licence Apache-2.0" in dock.run_button.toolTip()))
    assert texts == [("Download and segment", True), ("Segment", False)]


def test_segment_everything_and_classify_by_similarity(
    open_segment: Callable[..., Any], tissue: np.ndarray
) -> None:
    from napari_sampath import load_model
    from napari_sampath.predict.everything.settings import EverythingSettings

    pixels = np.tile(tissue, (2, 1, 1))
    window, dock = open_segment(pixels, load_model("sampath-tiny", device="cpu"))
    calibrated = EverythingSettings.of_model(window.state.model.encoder.info)
    assert dock.everything.value() == calibrated
    dock.everything.settings.widgets["points_per_side"].value = 6
    dock.refresh()
    assert dock.everything.value() == replace(calibrated, points_per_side=6), "changes by the user are kept"
    window.driver.press(dock.everything.find_button)
    wait_until(lambda: not dock.runner.busy and not dock.apply_queue.busy, 120, "everything")
    assert "Found" in dock.status.message.text()
    on_disc = [window.session.document.object_at(row, col) for row in (60, 180) for col in (50, 115)]
    assert all(on_disc), "each disc is an object"
    assert {obj.class_id for obj in window.session.document.objects.values()} == {
        window.session.classes.find("unclassified").id
    }
    window.driver.press(dock.everything.classify_button)
    wait_until(lambda: not dock.runner.busy, 60, "the sentence")
    assert "classify at least one" in dock.status.message.text()
    window.session.objects.reclassify((on_disc[0],), 1)
    window.driver.press(dock.everything.classify_button)
    wait_until(lambda: not dock.runner.busy, 60, "the classes")
    assert {window.session.document.objects[object_id].class_id for object_id in on_disc} == {1}


@pytest.mark.alone
def test_the_window_responds_while_a_head_runs(open_segment: Callable[..., Any]) -> None:
    """The longest stall is under 100 ms."""
    from benchmarks.stalls import StallMeter

    window, dock = open_segment(np.tile(disc_image(3, (400, 400))[0], (4, 4, 1)))
    dock.region.combo.setCurrentIndex(dock.region.combo.findData("image"))

    def segmenting() -> float:
        stalls: list[float] = []
        meter = StallMeter()
        dock._on_result = lambda *_: stalls.append(meter.stop())
        window.driver.press(dock.run_button)
        wait_until(lambda: bool(stalls), 60, "the result")
        return stalls[0]

    assert_alive(longest_stalls(segmenting))


def test_a_result_belongs_to_its_head(
    open_segment: Callable[..., Any], bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Add objects is off while another head is selected, and every text names the head that made the result."""
    window, dock = open_segment(disc_image(3, (120, 160))[0])
    done(window, dock)
    head = dock.result.segmentation.head
    assert dock.add_button.isEnabled()
    assert dock.summary.text().startswith(f"{head}: ")
    other = tmp_path / "other.safetensors"
    other.write_bytes(bundle.read_bytes())
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(other), ""))
    window.driver.press(dock.head.file_button)
    assert dock.head.value() == str(other)
    assert not dock.add_button.isEnabled()
    assert "Press Segment to run other.safetensors" in dock.summary.text()
    window.driver.press(dock.add_button)
    assert not window.session.document.objects
    dock.head.setValue(str(bundle))
    dock.head.combo.activated.emit(dock.head.combo.currentIndex())
    assert dock.add_button.isEnabled()
    window.driver.press(dock.add_button)
    wait_until(lambda: bool(window.session.document.objects) and not dock.apply_queue.busy, 60, "the objects")
    assert f"of {head}; correct them" in dock.status.message.text()
