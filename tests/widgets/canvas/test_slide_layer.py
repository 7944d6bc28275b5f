"""Slides in a napari window: sharp after the chunks have arrived, and never waiting for the file."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from benchmarks.gui_driver import GuiDriver, wait_until
from napari.errors import MultipleReaderError
from napari.layers._source import layer_source
from napari.layers.utils import layer_utils
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from shapely.geometry import shape

from napari_sampath.errors import ImageError
from napari_sampath.images.slides import open_slide, opening, tiff
from napari_sampath.images.slides.view_cache import CHUNK_PX
from napari_sampath.jobs import run
from napari_sampath.widgets.annotate.dock import AnnotateDock
from napari_sampath.widgets.canvas import slide_layer
from napari_sampath.widgets.canvas.slide_layer import add_slide, get_reader, slide_of
from napari_sampath.widgets.canvas.viewport import camera
from napari_sampath.widgets.canvas.windows import label_window
from napari_sampath.widgets.viewer import jobs
from napari_sampath.widgets.viewer.jobs import open_job
from napari_sampath.widgets.viewer.viewer_state import ViewerState
from support.models.discs import DiscModel, loader

pytestmark = pytest.mark.gui

MPP = 0.5
SIDE = 6000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of checkered 8 px squares, which turn grey at coarser levels."""
    path = tmp_path_factory.mktemp("slides") / "squares.tif"
    rows, cols = np.mgrid[:SIDE, :SIDE] // 8
    level = np.where((rows + cols)[..., None] % 2, 255, [200, 0, 120]).astype(np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for number in range(3):
            writer.write(
                level,
                tile=(256, 256),
                photometric="rgb",
                compression="zstd",
                subfiletype=int(number > 0),
                resolution=(1e4 / MPP / 2**number,) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
            )
            level = level.reshape(len(level) // 2, 2, -1, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    return path


def shown(viewer: Any) -> np.ndarray:
    return np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3].astype(int)


def look_at(viewer: Any, centre_um: tuple[float, float], pixels_per_um: float) -> None:
    view = camera(viewer)
    view.center = centre_um
    view.zoom = pixels_per_um


def test_a_slide_becomes_sharp_in_view(path: Path, viewer: Any, qtbot: Any) -> None:
    layer = add_slide(viewer, path)
    slide = slide_of(layer)
    assert slide is not None
    assert np.allclose(layer.scale, MPP)
    look_at(viewer, (1500.2, 1499.8), 4 / MPP)  # four screen pixels per pixel of the slide

    def sharp() -> None:
        middle = shown(viewer)[250:350, 250:350].reshape(-1, 3)
        colours = np.array([[255, 255, 255], [200, 0, 120]])
        off = np.abs(middle[:, None] - colours).max(axis=2).min(axis=1)
        assert (off <= 3).mean() > 0.9

    qtbot.waitUntil(lambda: _passes(sharp), timeout=60_000)
    viewer.layers.remove(layer)
    with pytest.raises(ValueError, match="closed"):
        slide.read_level(0, (0, 0, 10, 10))


def _passes(check: Any) -> bool:
    try:
        check()
    except AssertionError:
        return False
    return True


def test_a_slow_disk_does_not_block_the_window(
    path: Path, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = add_slide(viewer, path)
    read = tiff.TiffSlide.read_level

    def slow(self: Any, number: int, box: Any) -> Any:
        time.sleep(0.5)
        return read(self, number, box)

    monkeypatch.setattr(tiff.TiffSlide, "read_level", slow)
    start = time.monotonic()
    for step in range(10):  # each view needs chunks that are not in memory
        look_at(viewer, (200 + 250 * step, 200 + 250 * step), 2 / MPP)
    assert time.monotonic() - start < 2.5  # plain arrays would wait at least 0.5 s for each view
    viewer.layers.remove(layer)


def test_the_window_never_reads_pixels(
    path: Path, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, threads = tiff.TiffSlide.read_level, set()

    def recorded(self: Any, number: int, box: Any) -> Any:
        threads.add(threading.current_thread())
        return read(self, number, box)

    monkeypatch.setattr(tiff.TiffSlide, "read_level", recorded)
    layer = add_slide(viewer, path)
    look_at(viewer, (700, 700), 4 / MPP)
    look_at(viewer, (1500, 1500), 0.1 / MPP)
    qtbot.waitUntil(lambda: not layer.data[0].cache.waiting, timeout=60_000)
    # White until then; half of the squares are not white.
    for picture in (lambda: shown(viewer)[250:350, 250:350], lambda: layer.thumbnail[..., :3]):
        qtbot.waitUntil(lambda picture=picture: 0.3 < (picture()[..., 1] < 200).mean() < 0.7, timeout=60_000)
    assert threads
    assert threading.current_thread() not in threads
    viewer.layers.remove(layer)


@pytest.mark.skipif(
    not hasattr(layer_utils, "expand_corners_to_chunk_boundaries"), reason="napari before 0.9 ignores chunks"
)
def test_the_view_moves_inside_chunks_without_composing_them_again(
    path: Path, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only what the view asks for, not the repaints when chunks arrive
    monkeypatch.setattr(slide_layer._Repaint, "_repaint", lambda _self: None)
    layer = add_slide(viewer, path)
    cache, composed = layer.data[0].cache, []
    window = cache.window

    def recorded(*view: int) -> Any:
        composed.append(view)
        return window(*view)

    monkeypatch.setattr(cache, "window", recorded)

    def look_and_draw(row_um: float, col_um: float) -> None:
        look_at(viewer, (row_um, col_um), 4 / MPP)
        shown(viewer)

    look_and_draw(640, 640)  # the middle of a chunk
    assert composed
    assert (layer.corner_pixels[0, :2] % CHUNK_PX == 0).all()
    composed.clear()
    for shift in (-1, 1, 2, -2):
        look_and_draw(640 + shift, 640 - shift)
    assert not composed
    look_and_draw(1600, 1600)
    assert composed
    viewer.layers.remove(layer)


def test_a_slide_that_cannot_be_read_is_a_warning(
    path: Path, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_self: Any, _number: int, _box: Any) -> Any:
        raise ImageError("'squares' cannot be read any more; connect the drive again.")

    monkeypatch.setattr(tiff.TiffSlide, "read_level", gone)
    messages: list[str] = []

    def record(notification: Any) -> None:
        messages.append(notification.message)

    notification_manager.notification_ready.connect(record)
    layer = add_slide(viewer, path)
    qtbot.waitUntil(lambda: bool(messages), timeout=60_000)
    assert "cannot be read any more; connect the drive again. What was read already stays" in messages[0]
    notification_manager.notification_ready.disconnect(record)
    viewer.layers.remove(layer)


def test_napari_reads_slides_with_our_reader(path: Path, viewer: Any, qtbot: Any) -> None:
    reader = get_reader(str(path))
    assert reader is not None
    levels, options, kind = reader(str(path))[0]
    assert (kind, len(levels), levels[0].shape) == ("image", 3, (SIDE, SIDE, 3))
    layer = viewer.add_image(levels, **options)
    look_at(viewer, (700, 700), 4 / MPP)
    qtbot.waitUntil(lambda: levels[0].cache.waiting == 0, timeout=60_000)
    viewer.layers.remove(layer)
    assert not any(thread.is_alive() for thread in levels[0].cache._threads)


def test_napari_offers_the_reader_for_the_endings_of_slides(
    path: Path, tmp_path: Path, viewer: Any, qtbot: Any
) -> None:
    slide = tmp_path / "biopsy.svs"
    slide.write_bytes(path.read_bytes())
    with pytest.raises(MultipleReaderError, match="SamPath"):  # napari's menu asks the user at this error
        viewer.open(str(slide), plugin=None)
    (layer,) = viewer.open(str(slide), plugin="napari-sampath")
    assert (layer.name, slide_of(layer) is not None) == ("biopsy", True)
    look_at(viewer, (700, 700), 4 / MPP)
    view = layer.data[0]
    qtbot.waitUntil(lambda: view.cache.waiting == 0, timeout=60_000)
    viewer.layers.remove(layer)
    assert not any(thread.is_alive() for thread in view.cache._threads)


def test_a_small_slide_is_annotated_as_an_image(path: Path, tmp_path: Path, viewer: Any) -> None:
    layer = add_slide(viewer, path)
    opened = run(open_job(layer, tmp_path))
    session = opened.session
    with tifffile.TiffFile(path) as tiff:
        np.testing.assert_array_equal(session.image, tiff.series[0].asarray())
    assert session.files.mpp == pytest.approx(MPP)
    assert "stated" not in (opened.note or "")
    session.close()
    viewer.layers.remove(layer)


class LevelOfAPlugin:
    """A level as other plugins pass it to napari, which must not be read in one piece."""

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, values: np.ndarray, largest_px: int) -> None:
        self._values = values
        self._largest_px = largest_px
        self.shape, self.size = values.shape, values.size

    def __getitem__(self, key: Any) -> np.ndarray:
        part: np.ndarray = self._values[key]
        assert part.size // 3 <= self._largest_px
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:]


@pytest.mark.parametrize("origin", ["memory", "file", "file that changed"])
def test_a_multiscale_layer_of_another_plugin_is_annotated_as_a_slide(
    origin: str, path: Path, tmp_path: Path, viewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MAX_SLIDE_PX", SIDE * SIDE - 1)
    monkeypatch.setattr(opening, "SLIDE_PIXELS", SIDE * SIDE)
    with tifffile.TiffFile(path) as tiff:
        values = [level.asarray() for level in tiff.series[0].levels]
    if origin == "file that changed":
        values = [255 - level for level in values]
    with layer_source(path=None if origin == "memory" else str(path)):
        layer = viewer.add_image(
            [LevelOfAPlugin(level, SIDE * SIDE // 4) for level in values],
            rgb=True,
            multiscale=True,
            scale=(2 * MPP, 2 * MPP),
            units=("um", "um"),
        )
    session = run(open_job(layer, tmp_path)).session
    assert session.slide is not None
    np.testing.assert_array_equal(session.image[4000:4100, 5000:5200], values[0][4000:4100, 5000:5200])
    assert session.files.mpp == session.slide.mpp == pytest.approx(2 * MPP)
    with open_slide(path) as slide:
        assert (session.slide.digest == slide.digest) == (origin == "file")
    session.slide.close()
    session.close()
    viewer.layers.remove(layer)


@pytest.mark.parametrize("largest_image_px", [1, jobs.MAX_SLIDE_PX])
def test_what_is_odd_about_the_scale_of_a_slide_is_said(
    largest_image_px: int, tmp_path: Path, viewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MAX_SLIDE_PX", largest_image_px)
    text = "Aperio Image Library\n128x128 [0,0 128x128]|AppMag = 20|MPP = 0.25"
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    options = {"tile": (64, 64), "photometric": "rgb", "description": text, "metadata": None}
    tifffile.imwrite(tmp_path / "biopsy.svs", pixels, **options)
    opened = run(open_job(add_slide(viewer, tmp_path / "biopsy.svs"), tmp_path))
    assert "'biopsy': its pixel size is stated as 0.25 µm (Aperio)" in (opened.note or "")
    assert "20x" in (opened.note or "")
    opened.session.close()


def test_a_large_slide_is_annotated_at_every_zoom(
    path: Path, tmp_path: Path, viewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Click, brush at two zooms, undo, export and reopen, with limits that make a slide of 6,000 px a large one."""
    monkeypatch.setattr(jobs, "MAX_SLIDE_PX", SIDE * SIDE - 1)
    monkeypatch.setattr(label_window, "WHOLE_PX", 1024)
    monkeypatch.setattr(tiff.TiffSlide, "__array__", _whole, raising=False)
    dock = AnnotateDock(viewer, ViewerState(viewer, load_model=loader(DiscModel()), sessions_dir=tmp_path))
    viewer.window.add_dock_widget(dock, name="Annotate", area="right")
    layer = add_slide(viewer, path)
    wait_until(lambda: dock.state.ready, 60, "the slide to be ready for clicks")
    driver = GuiDriver(viewer, layer)
    driver.settle()
    annotator, session = dock.state.annotator, dock.state.session
    assert session.slide is slide_of(layer)
    assert session.files.mpp == pytest.approx(MPP)

    look_at(viewer, (1500, 1500), 1 / MPP)
    wait_until(lambda: annotator.layer_sync.window.step == 1, 10, "the finest window")
    driver.click(3000, 3000)
    wait_until(lambda: dock.state.prompts.idle and session.prompts.candidate is not None, 20, "the mask")
    driver.key(Qt.Key.Key_Return)
    wait_until(lambda: len(session.document.objects) == 1, 20, "the object")
    assert session.document.class_map[3000, 3000] == 1

    annotator.choose_mode(type(annotator.mode)("brush"))
    annotator.layers.classes.brush_size = 6
    boxes = []
    for zoom, length in ((1, 200), (0.1, 2000)):
        look_at(viewer, (1500, 1500), zoom / MPP)
        wait_until(
            lambda zoom=zoom: annotator.layer_sync.window.step == (8 if zoom < 1 else 1), 10, "the window"
        )
        driver.drag([(3000 - length / 2, 3150 + length / 4), (3000 + length / 2, 3150 + length / 4)])
        wait_until(lambda: not annotator.layer_sync.drawing, 10, "the end of the stroke")
        boxes.append(max(session.document.objects.items())[1].box)
        height, width = boxes[-1][2] - boxes[-1][0], boxes[-1][3] - boxes[-1][1]
        assert length * 0.9 < width < length * 1.2
        assert height < 100
    assert len(session.document.objects) == 3
    step = annotator.layer_sync.window.step
    assert boxes[1][0] % step == boxes[1][1] % step == 0
    driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert len(session.document.objects) == 2
    assert not session.document.class_map[boxes[1][0] : boxes[1][2], boxes[1][1] : boxes[1][3]].any()
    driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    assert len(session.document.objects) == 3

    run(session.files.export_job(tmp_path / "out", ("geojson",)))
    (exported,) = (tmp_path / "out").glob("*.geojson")
    outlines = [shape(feature["geometry"]) for feature in json.loads(exported.read_text())["features"]]
    assert len(outlines) == 3
    assert all(outline.is_valid for outline in outlines)
    objects = session.document.objects
    expected = sorted(float(session.document.pixels(key).area_px) for key in objects)
    assert sorted(outline.area for outline in outlines) == pytest.approx(expected)
    viewer.layers.remove(layer)
    wait_until(lambda: dock.state.annotator is None, 10, "the end of the session")

    again = add_slide(viewer, path)
    wait_until(lambda: dock.state.annotator is not None, 60, "the session")
    assert len(dock.state.session.document.objects) == 3
    viewer.layers.remove(again)
    wait_until(lambda: dock.state.annotator is None, 10, "the end of the session")


def _whole(_slide: Any, *_: Any, **__: Any) -> Any:
    raise AssertionError("a large slide was converted to an array")
