"""Layers that napari opened from files of which it drops the tags, and planes of colour."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from benchmarks.gui_driver import GuiDriver, wait_until
from PIL import Image
from qtpy.QtCore import Qt

from napari_sampath.images import read
from napari_sampath.jobs import run
from napari_sampath.session import Session, journal_path, sessions_folder
from support.models.discs import DiscModel, loader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.gui


def write_planar(path: Path, pixels: np.ndarray) -> Path:
    tifffile.imwrite(path, np.moveaxis(pixels, -1, 0), photometric="rgb", planarconfig="separate")
    return path


def write_cyx(path: Path, pixels: np.ndarray) -> Path:
    options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}, "ome": True}
    tifffile.imwrite(path, np.moveaxis(pixels, -1, 0), **options)
    return path


def write_inverted(path: Path, pixels: np.ndarray) -> Path:
    tifffile.imwrite(path, pixels[..., 0], photometric="miniswhite")
    return path


def write_palette(path: Path, pixels: np.ndarray) -> Path:
    colours = np.random.default_rng(0).integers(0, 2**16, (3, 256)).astype(np.uint16)
    tifffile.imwrite(path, pixels[..., 0], photometric="palette", colormap=colours)
    return path


def write_cmyk(path: Path, pixels: np.ndarray) -> Path:
    path = path.with_suffix(".jpg")
    Image.fromarray(pixels).convert("CMYK").save(path)
    return path


def write_grey_alpha(path: Path, pixels: np.ndarray) -> Path:
    path = path.with_suffix(".png")
    Image.fromarray(pixels).convert("LA").save(path)
    return path


def write_turned(path: Path, pixels: np.ndarray) -> Path:
    path = path.with_suffix(".jpg")
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    return path


WRITERS = [
    write_planar,
    write_cyx,
    write_inverted,
    write_palette,
    write_cmyk,
    write_grey_alpha,
    write_turned,
]


@pytest.fixture
def open_file(viewers: Callable[[], Any]) -> Callable[[Path], Any]:
    """Open a file with napari's own reader beside the Annotate dock, and wait until the image is ready."""

    def opened(path: Path) -> Any:
        from napari_sampath.widgets.annotate.dock import AnnotateDock
        from napari_sampath.widgets.viewer.viewer_state import ViewerState

        viewer = viewers()
        dock = AnnotateDock(viewer, ViewerState(viewer, load_model=loader(DiscModel())))
        viewer.window.add_dock_widget(dock, name="Annotate", area="right")
        messages: list[str] = []
        dock.state.message.connect(messages.append)
        dock.state.runner.failed.connect(messages.append)
        viewer.open(path, plugin="napari")
        wait_until(lambda: dock.state.ready, 120, "the image to be opened")
        dock.messages = messages
        return dock

    return opened


@pytest.mark.parametrize("write", WRITERS)
def test_the_file_is_annotated_as_a_person_sees_it(
    open_file: Callable[[Path], Any],
    tissue: np.ndarray,
    tmp_path: Path,
    write: Callable[[Path, np.ndarray], Path],
) -> None:
    path = write(tmp_path / "a.tif", tissue)
    dock = open_file(path)
    state, viewer, expected = dock.state, dock.state.viewer, read(path).pixels
    assert state.ready, dock.messages
    np.testing.assert_array_equal(state.session.image, expected)
    np.testing.assert_array_equal(state.image.data, expected)
    assert state.image.visible
    original = next(layer for layer in viewer.layers if layer.source.path is not None)
    assert original is not state.image
    assert not original.visible
    state.choose_image(original)
    assert state.image.data.shape == expected.shape, "the hidden layer opens the one that is shown for it"
    viewer.reset_view()
    driver = GuiDriver(viewer, state.image)
    driver.settle()
    driver.click(50, 60)
    wait_until(lambda: state.prompts.idle, 60, "the prompt worker")
    driver.key(Qt.Key.Key_Return)
    assert state.annotator.layers.classes.data[60, 50], "the object is under the click"
    assert state.annotator.layers.classes.data.shape == expected.shape[:2]


def test_an_ordinary_file_keeps_its_layer(
    open_file: Callable[[Path], Any], tissue: np.ndarray, tmp_path: Path
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", tissue, photometric="rgb", resolution=(40_000, 40_000), resolutionunit=3
    )
    state = open_file(tmp_path / "a.tif").state
    assert state.image.source.path is not None
    assert state.session.files.mpp == pytest.approx(0.25)


def test_planes_of_colour_without_a_file_are_taken_as_rgb(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(np.ascontiguousarray(np.moveaxis(tissue, -1, 0)), DiscModel(), ready=False)
    wait_until(lambda: window.state.annotator is not None, 60, "the session")
    np.testing.assert_array_equal(window.session.image, tissue)
    assert "channels first" in window.text
    assert not window.image.visible


@pytest.mark.parametrize("write", [write_inverted, write_turned])
def test_annotations_of_earlier_versions_are_found(
    open_file: Callable[[Path], Any],
    tissue: np.ndarray,
    tmp_path: Path,
    write: Callable[[Path, np.ndarray], Path],
) -> None:
    """Earlier versions annotated what napari shows."""
    path = write(tmp_path / "a.tif", tissue)
    with Image.open(path) as image:
        shown = np.asarray(image.convert("RGB"))
    if write is write_inverted:
        shown = 255 - shown
    folder = sessions_folder()
    with contextlib.closing(Session(shown, "a", journal=journal_path(shown, folder))) as session:
        session.area.complete((0, 0, 9, 9))
    dock = open_file(path)
    np.testing.assert_array_equal(dock.state.session.image, shown)
    assert dock.state.image.visible
    assert dock.state.image.source.path is not None
    assert any(
        "annotated in an earlier version, which ignored the tags" in message for message in dock.messages
    )


def test_a_folder_shows_what_was_annotated_before_it_was_turned(tmp_path: Path, tissue: np.ndarray) -> None:
    from napari_sampath.widgets.folder.jobs import read_job

    path = write_turned(tmp_path / "a.tif", tissue)
    turned = run(read_job(path, tmp_path))
    assert turned.orientation == 6
    stored = turned.before_turning().pixels
    with Image.open(path) as image:
        np.testing.assert_array_equal(stored, np.asarray(image))
    with contextlib.closing(Session(stored, "a", journal=journal_path(stored, tmp_path))) as session:
        session.area.complete((0, 0, 9, 9))
    again = run(read_job(path, tmp_path))
    np.testing.assert_array_equal(again.pixels, stored)
    assert "annotated in an earlier version, which ignored the tag" in (again.note or "")


def test_changed_pixels_of_a_layer_are_annotated_and_not_its_file(
    viewers: Callable[[], Any], tissue: np.ndarray, tmp_path: Path
) -> None:
    from napari_sampath.images import read_layer

    path = write_inverted(tmp_path / "a.tif", tissue)
    changed = tissue[..., 1].copy()
    layer_image = read_layer(changed, "a", path)
    assert layer_image.is_shown
    np.testing.assert_array_equal(layer_image.image.pixels[..., 0], changed)
