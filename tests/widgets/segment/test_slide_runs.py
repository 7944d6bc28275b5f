"""Segmentation of whole slides from the Auto-segment dock: tissue, growing result, objects."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from benchmarks.gui_driver import GuiDriver, wait_until

from napari_sampath.arrays import ClassInfo
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.formats.maps import slide_result
from napari_sampath.formats.maps.slide_objects import objects_of
from napari_sampath.images.slides import ArraySlide
from napari_sampath.images.slides.tissue import Tissue, load_tissue
from napari_sampath.jobs import run
from napari_sampath.session import Change
from napari_sampath.session.proposals import plan
from napari_sampath.widgets.export.dock import ExportDock
from napari_sampath.widgets.segment.slide_job import RunState, whole_slide_job
from napari_sampath.widgets.viewer.tools.object_tools import Tool
from support.models.discs import loader
from support.models.patches import disc_image, patch_model
from support.slide_files import use_small_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui

BLOCK_PX = 800
HW = (1000, 1500)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four blocks on a small slide, which is not read into memory."""
    from napari_sampath.widgets.viewer import jobs

    use_small_blocks(monkeypatch, BLOCK_PX)
    monkeypatch.setattr(jobs, "MAX_SLIDE_PX", 10)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear head that finds purple discs on pink."""
    from napari_sampath.training import TrainingConfig, open_dataset, train

    path = tmp_path_factory.mktemp("train")
    folder = DatasetFolder.create(path / "discs", (ClassInfo(1, "object", (0, 158, 115)),))
    for number in range(5):
        folder.save_image(Snapshot(f"disc {number}", *disc_image(number, (250, 250))))
    config = TrainingConfig(epochs=20, batch_size=2, patience=0)
    return train(open_dataset(folder.path), "linear", config, patch_model(), path / "discs.safetensors")


@pytest.fixture
def open_slide(viewers: Callable[[], Any], bundle: Path, tmp_path: Path) -> tuple[Any, Any, GuiDriver]:
    """Open a slide of discs, one of which crosses a border of blocks, with the dock; select the head."""
    from napari_sampath.widgets.canvas.slide_layer import add_slide
    from napari_sampath.widgets.segment.dock import SegmentDock
    from napari_sampath.widgets.viewer.viewer_state import ViewerState

    pixels, labels = disc_image(3, (250, 250))
    centre = int(np.flatnonzero(labels.any(axis=0)).mean())
    pixels = np.roll(np.tile(pixels, (4, 6, 1)), BLOCK_PX - centre, axis=1)
    path = tmp_path / "discs.tif"
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", compression="zstd", metadata=None)
    viewer = viewers()
    state = ViewerState(viewer, load_model=loader(patch_model()), sessions_dir=tmp_path / "sessions")
    dock = SegmentDock(viewer, state)
    viewer.window.add_dock_widget(dock, name="Auto-segment", area="right")
    layer = add_slide(viewer, path)
    wait_until(lambda: state.session is not None and state.model is not None, 120, "the session")
    dock.head._files.append(bundle)
    dock.refresh()
    dock.head.setValue(str(bundle))
    dock.refresh()
    driver = GuiDriver(viewer, layer)
    driver.settle()
    return viewer, dock, driver


def test_a_slide_is_segmented_in_blocks_and_stays_a_result(
    open_slide: tuple[Any, Any, GuiDriver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, dock, driver = open_slide
    session = dock.state.session
    export = ExportDock(viewer, dock.state)
    assert export.with_result.isHidden()
    # Tissue: everything here; the person erases the right end
    driver.press(dock.tissue_button)
    wait_until(lambda: "Tissue" in viewer.layers, 60, "the tissue")
    tissue = viewer.layers["Tissue"]
    assert np.asarray(tissue.data).all()
    tissue.mode = "erase"
    tissue.brush_size = 2
    driver.drag([(1490, 10), (1490, 990)])
    assert not np.asarray(tissue.data)[:, -1].any()
    saved = load_tissue(dock.slide_runs._tissue_file(session))
    assert saved is not None
    np.testing.assert_array_equal(saved.mask, np.asarray(tissue.data) > 0)
    # The first block can be seen while the second one is not finished
    first, go_on = threading.Event(), threading.Event()
    mark = slide_result.SlideResult.mark

    def gated(result: Any, block: Any) -> None:
        if first.is_set():
            go_on.wait(60)
        mark(result, block)
        first.set()

    monkeypatch.setattr(slide_result.SlideResult, "mark", gated)
    dock.region.combo.setCurrentIndex(dock.region.combo.findData("image"))
    driver.press(dock.run_button)
    wait_until(lambda: "Segmentation of the slide" in viewer.layers, 60, "the growing result")
    shown = viewer.layers["Segmentation of the slide"]
    wait_until(lambda: np.asarray(shown.data[0]).any(), 60, "the first block")
    assert dock.runner.busy
    assert not tissue.visible
    go_on.set()
    wait_until(lambda: not dock.runner.busy, 60, "the result")
    result = dock.slide_runs.result
    assert result is not None, dock.status.message.text()
    assert "the result is kept" in dock.status.message.text()
    wait_until(lambda: shown.data[0].cache.waiting == 0, 60, "the last block")
    np.testing.assert_array_equal(np.asarray(shown.data[0]), result.classes((0, 0, *HW)))
    assert not session.document.objects, "a result is no annotation"

    # A newer result, of another image
    slide = dock.state.image
    second = viewer.add_image(disc_image(1)[0], name="second")
    wait_until(
        lambda: dock.state.image is second and dock.state.ready and not dock.runner.busy, 60, "the image"
    )
    driver.press(dock.run_button)
    wait_until(lambda: dock.result is not None, 60, "its result")
    viewer.layers.selection.active = slide
    wait_until(lambda: dock.state.session is session and dock.add_button.isEnabled(), 60, "the slide")

    # Adding the objects in view, one of which lies in two blocks
    objects = objects_of(result.path)
    assert objects is not None
    box = objects.table.box
    crossing = (box[:, 1] < BLOCK_PX) & (box[:, 3] > BLOCK_PX)
    assert crossing.any()
    monkeypatch.setattr(dock.region, "value", lambda: (0, BLOCK_PX - 5, HW[0], BLOCK_PX + 5))
    driver.press(dock.add_button)
    wait_until(lambda: not dock.runner.busy and not dock.apply_queue.busy, 60, "the objects")
    near = (box[:, 1] < BLOCK_PX + 5) & (box[:, 3] > BLOCK_PX - 5)
    assert len(session.document.objects) == near.sum()
    assert sorted(obj.area_px for obj in session.document.objects.values()) == sorted(
        objects.table.area_px[near]
    )
    # The same objects are not added twice
    driver.press(dock.add_button)
    wait_until(lambda: not dock.runner.busy and not dock.apply_queue.busy, 60, "the objects")
    assert len(session.document.objects) == near.sum()

    # A click with a tool on another object of the result makes it an object of the session
    tools = dock.state.annotator.tools
    (row, *_) = np.flatnonzero(~near & (objects.table.area_px > 5000))
    r0, c0, r1, c1 = box[row]
    tools.activate(Tool.REVIEWED)
    driver.settle()
    driver.click((c0 + c1) / 2, (r0 + r1) / 2)
    wait_until(lambda: len(session.document.objects) == near.sum() + 1, 60, "the object")
    touched = session.document.objects[max(session.document.objects)]
    wait_until(lambda: session.document.record(touched.id).reviewed, 60, "its flag")
    assert touched.area_px == objects.table.area_px[row]
    driver.click(1480, 5)
    assert len(session.document.objects) == near.sum() + 1, "there is none at the erased end"

    # Exports write the annotations, or both
    assert not export.with_result.isHidden()
    viewer.window.add_dock_widget(export, name="Export", area="right")
    export.formats.setValue(("tiff",))
    for both in (False, True):
        folder = tmp_path / f"exported {both}"
        export.folder.setText(str(folder))
        export.with_result.setChecked(both)
        driver.press(export.export_button)
        wait_until(lambda: not export.runner.busy, 60, "the files")
        (values,) = folder.glob("*instances*.tif")
        ids = np.unique(tifffile.imread(values))
        assert len(ids) - 1 == (len(objects.table) if both else near.sum() + 1)
    assert len(session.document.objects) == near.sum() + 1


def test_all_objects_of_a_class_are_added_from_the_dock(
    open_slide: tuple[Any, Any, GuiDriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MAX_IN_JOURNAL", 1)
    _, dock, driver = open_slide
    session, choice = dock.state.session, dock.slide_runs.class_choice
    assert choice.isHidden()
    dock.region.combo.setCurrentIndex(dock.region.combo.findData("image"))
    driver.press(dock.run_button)
    wait_until(lambda: not dock.runner.busy, 60, "the result")
    result = dock.slide_runs.result
    assert result is not None, dock.status.message.text()
    objects = objects_of(result.path)
    assert objects is not None
    count = len(objects.table)
    assert count > 1
    assert [choice.itemText(row) for row in range(choice.count())] == ["all classes", "object"]
    assert choice.isVisible()
    choice.setCurrentIndex(1)

    # Edits during the preparation are kept, however many: the window never adds so many objects itself.
    edits = iter(range(5))
    take = Change.take

    def after_an_edit(change: Any, prepared: Any) -> Any:
        if next(edits, None) is not None:
            session.paint([1, 2], [3, 4], 1)
        return take(change, prepared)

    monkeypatch.setattr(Change, "take", after_an_edit)
    monkeypatch.setattr(Change, "apply", None)
    driver.press(dock.add_button)
    wait_until(lambda: not dock.runner.busy and not dock.apply_queue.busy, 60, "the objects")
    assert dock.status.message.text().startswith(f"Added {count} objects of ")
    assert len(session.document.objects) == count + 1
    (file,) = dock.state.sessions_dir.glob("*.objects.gz")
    (journal,) = dock.state.sessions_dir.glob("*.jsonl")
    assert file.name in journal.read_text()
    session.undo()
    assert len(session.document.objects) == 1
    session.redo()
    assert len(session.document.objects) == count + 1


@pytest.mark.parametrize(
    ("centre_rc", "first"),
    [
        ((900.0, 1400.0), [(800, 800), (0, 800), (800, 0), (0, 0)]),
        ((0.0, 0.0), [(0, 0)]),
        ((999.0, 0.0), [(800, 0)]),
    ],
)
def test_blocks_where_the_view_is_come_first(
    bundle: Path, tmp_path: Path, centre_rc: tuple[float, float], first: list[tuple[int, int]]
) -> None:
    pixels = np.tile(disc_image(3, (250, 250))[0], (4, 6, 1))
    order: list[tuple[int, ...]] = []
    state = RunState(centre_rc, on_block=order.append)
    everywhere = Tissue(np.ones((1, 1), bool), max(HW))
    job = whole_slide_job(
        ArraySlide([pixels], "discs"),
        str(bundle),
        patch_model(),
        tmp_path / "a.ome.zarr",
        everywhere,
        1.0,
        state,
    )
    run(job)
    assert len(order) == 4
    assert [box[:2] for box in order[: len(first)]] == first


def test_a_run_needs_tissue_can_be_cancelled_and_scripted(open_slide: tuple[Any, Any, GuiDriver]) -> None:
    viewer, dock, driver = open_slide
    driver.press(dock.tissue_button)
    wait_until(lambda: "Tissue" in viewer.layers, 60, "the tissue")
    tissue = viewer.layers["Tissue"]
    tissue.data = np.zeros_like(tissue.data)
    dock.region.combo.setCurrentIndex(dock.region.combo.findData("image"))
    driver.press(dock.run_button)
    wait_until(lambda: not dock.runner.busy, 60, "the message")
    assert "No tissue is marked" in dock.status.message.text()
    tissue.data = np.ones_like(tissue.data)
    driver.press(dock.run_button)
    driver.press(dock.status.cancel_button)
    assert not dock.runner.busy
    assert dock.runner.wait(60)
    driver.press(dock.run_button)
    wait_until(lambda: not dock.runner.busy, 60, "the result")
    assert dock.slide_runs.result is not None
    assert dock.slide_runs.result.is_complete

    # The result of the whole slide says where to correct
    driver.press(dock.uncertain.next_button)
    wait_until(lambda: dock.uncertain.region is not None, 60, "an uncertain region")
    assert "% uncertain in this region" in dock.status.message.text()

    # The same run as a script, with the mask that was painted
    dock.state.image.metadata["sampath_file"] = __file__
    tissue.data[:3] = 0
    script = dock.script()
    (mask,) = dock.state.sessions_dir.glob("*.tissue.npz")
    assert f"--tissue {mask}" in script.command
    assert f"tissue = load_model(head.encoder_name), load_tissue(Path({str(mask)!r}))" in script.python
    saved = load_tissue(mask)
    assert saved is not None
    np.testing.assert_array_equal(saved.mask, tissue.data > 0)
    assert "--mpp" not in script.command
    dock.state.session.files.use_mpp(0.33)
    scaled = dock.script()
    assert "--mpp 0.33" in scaled.command
    assert "\n    slide.mpp = 0.33\n" in scaled.python
    compile(scaled.python, "script", "exec")
    dock.state.session.files.use_mpp(None)
    assert "--output test_slide_runs.ome.zarr --objects" in script.command
    compile(script.python, "script", "exec")
    assert "--tile-px" not in script.command
    dock.magnification.setCurrentIndex(dock.magnification.findData(2.0))
    larger = dock.script()
    assert f"--tile-px {2 * dock.slide_runs.result.fingerprint['tile_px']}" in larger.command
    assert f"tile_px={2 * dock.slide_runs.result.fingerprint['tile_px']}" in larger.python
    compile(larger.python, "script", "exec")
    driver.press(dock.slide_runs.outlines)
    outlined = dock.script()
    assert "--objects" in outlined.command
    assert "--outlines" in outlined.command
    assert "InstanceSettings(outlines=True)" in outlined.python
    compile(outlined.python, "script", "exec")
    driver.press(dock.run_button)
    wait_until(lambda: not dock.runner.busy, 60, "the message")
    assert "answers no prompts" in dock.status.message.text()


def test_a_run_continues_on_its_own_slide_while_another_image_is_in_use(
    open_slide: tuple[Any, Any, GuiDriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, dock, driver = open_slide
    slide, state = dock.state.image, dock.state
    driver.press(dock.tissue_button)
    wait_until(lambda: "Tissue" in viewer.layers, 60, "the tissue")
    tissue = viewer.layers["Tissue"]
    go_on, mark = threading.Event(), slide_result.SlideResult.mark
    monkeypatch.setattr(
        slide_result.SlideResult, "mark", lambda result, block: (go_on.wait(60), mark(result, block))
    )
    dock.region.combo.setCurrentIndex(dock.region.combo.findData("image"))
    driver.press(dock.run_button)
    # The other image is in use before the run shows its result, however fast the worker is.
    state.choose_image(viewer.add_image(disc_image(4, (200, 300))[0], name="other"))
    wait_until(lambda: state.image is not slide and state.session is not None, 60, "the other image")
    assert not tissue.visible, "it belongs to the slide"
    wait_until(lambda: dock.slide_runs._run is not None and dock.slide_runs._run.plan is not None, 60, "it")
    reports: list[object] = []
    dock.runner.reported.connect(reports.append)
    wait_until(lambda: bool(reports), 60, "a report of the run")
    go_on.set()
    wait_until(lambda: not dock.runner.busy, 60, "the result")
    assert "Segmentation of the slide" not in viewer.layers
    assert f"in '{slide.name}'" in dock.status.message.text()
    assert not dock.add_button.isEnabled()

    slide.name = "renamed"
    viewer.layers.selection.active = slide
    wait_until(lambda: state.image is slide and state.session is not None, 60, "the slide")
    assert tissue.visible
