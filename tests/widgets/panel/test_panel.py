"""The SamPath panel: one header, six tabs, nothing cut off at 760 px, in both themes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import GuiDriver, wait_until
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_sampath.widgets.common.image_bar import ImageBar
from napari_sampath.widgets.panel.panel import TABS, SamPathPanel
from napari_sampath.widgets.viewer.viewer_state import ViewerState
from support.dock_layout import assert_nothing_cut_off
from support.models.discs import DiscModel, loader

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gui

PANEL_PX = 760


@pytest.fixture
def panel(viewer: Any) -> SamPathPanel:
    """Return a panel in an empty viewer."""
    panel = SamPathPanel(viewer, ViewerState(viewer, load_model=loader(DiscModel())))
    viewer.window.add_dock_widget(panel, name="SamPath", area="right")
    return panel


def click_tab(panel: SamPathPanel, title: str) -> Any:
    bar = panel.tabs.tabBar()
    QTest.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(list(TABS).index(title)).center())
    return panel.docks[title]


def opened(panel: SamPathPanel, viewer: Any, tissue: np.ndarray) -> GuiDriver:
    layer = viewer.add_image(tissue, name="tissue")
    wait_until(lambda: panel.state.ready, 60, "the image")
    driver = GuiDriver(viewer, layer)
    driver.settle()
    return driver


def test_the_empty_state_offers_images_samples_and_projects(panel: SamPathPanel, viewer: Any) -> None:
    assert panel.tabs.tabText(panel.tabs.currentIndex()) == "Project"
    start = panel.docks["Project"].start
    assert start.isVisible()
    assert "nothing is copied" in start.text.text()
    titles = [action.text() for action in start.sample_menu.actions()]
    assert titles == ["H&&E: skin (CMU-1)", "Immunostain: colon, DAB with haematoxylin"]
    assert not start.continue_button.isEnabled()
    assert panel.header.image.text() == "No image is open"
    start.sample_menu.actions()[0].trigger()
    wait_until(lambda: panel.state.annotator is not None, 60, "the sample")
    assert panel.tabs.tabText(panel.tabs.currentIndex()) == "Annotate"
    assert viewer.layers[0].data.shape == (1024, 1024, 3)
    panel.state.runner.cancel()
    assert panel.state.runner.wait(60)


def test_every_tab_opens_by_a_click_and_nothing_is_cut_off(
    panel: SamPathPanel, viewer: Any, tissue: np.ndarray
) -> None:
    driver = opened(panel, viewer, tissue)
    viewer.window._qt_window.resize(1280, 800)
    for theme in ("dark", "light"):
        viewer.theme = theme
        for title in TABS:
            dock = click_tab(panel, title)
            driver.settle()
            assert dock.isVisible()
            assert_nothing_cut_off(viewer, dock)
            assert dock.verticalScrollBar().maximum() == 0, title
        bar = panel.tabs.tabBar()
        right = bar.tabRect(len(TABS) - 1).right()
        assert right <= panel.width(), f"the tabs end at {right} of {panel.width()} px"


def test_no_tab_scrolls_while_a_project_is_open(
    panel: SamPathPanel, viewer: Any, tissue: np.ndarray, tmp_path: Path
) -> None:
    driver = opened(panel, viewer, tissue)
    training = panel.state.training
    training.choose(tmp_path / "A project with quite a long name")
    wait_until(lambda: training.project is not None, 60, "the project")
    training.membership.put_in()
    wait_until(lambda: len(training.project.images) == 1, 60, "the image in the project")
    viewer.window._qt_window.resize(1280, 800)
    for title in TABS:
        dock = click_tab(panel, title)
        driver.settle()
        assert_nothing_cut_off(viewer, dock)
        assert dock.verticalScrollBar().maximum() == 0, title


def test_a_pixel_size_that_the_file_does_not_state_is_typed_in_and_kept(
    panel: SamPathPanel, viewer: Any, tissue: np.ndarray
) -> None:
    driver = opened(panel, viewer, tissue)
    header, state = panel.header, panel.state
    assert header.pixel_size_button.isVisible()
    assert not header.magnification.isVisible()

    def answer() -> None:
        dialog = QApplication.activeModalWidget()
        if dialog is None:
            QTimer.singleShot(10, answer)
            return
        dialog.setDoubleValue(0.25)
        dialog.accept()

    QTimer.singleShot(0, answer)
    QTest.mouseClick(header.pixel_size_button, Qt.MouseButton.LeftButton)
    assert state.session.files.mpp == 0.25
    assert header.magnification.isVisible()
    assert header.magnification.text().startswith("40x")
    click_tab(panel, "Objects")
    driver.settle()
    assert panel.docks["Objects"].model.mpp == 0.25
    viewer.layers.clear()
    wait_until(lambda: state.session is None, 60, "the end of the session")
    opened(panel, viewer, tissue)
    assert state.session.files.mpp == 0.25
    viewer.layers.clear()
    wait_until(lambda: state.session is None, 60, "the end of the session")
    viewer.add_image(tissue[:, ::-1], scale=(0.5, 0.5), units=("um", "um"))
    wait_until(lambda: state.ready, 60, "an image with a pixel size")
    assert not header.pixel_size_button.isVisible()


def test_annotate_fits_without_a_scroll_bar(panel: SamPathPanel, viewer: Any, tissue: np.ndarray) -> None:
    driver = opened(panel, viewer, tissue)
    for theme in ("dark", "light"):
        viewer.theme = theme
        dock = click_tab(panel, "Annotate")
        driver.settle()
        above = panel.height() - dock.viewport().height()
        needed = above + dock.widget().minimumSizeHint().height()
        assert needed <= PANEL_PX, f"{needed} px"
        assert dock.verticalScrollBar().maximum() == 0


def test_a_name_with_line_breaks_is_shown_on_one_line(
    panel: SamPathPanel, viewer: Any, tissue: np.ndarray
) -> None:
    opened(panel, viewer, tissue)
    viewer.layers["tissue"].name = "biopsy\nof a very long description, 2026"
    wait_until(lambda: panel.header.image.text() == "biopsy of a very long description, 2026", 60, "the name")
    viewer.layers[0].visible = False
    wait_until(lambda: panel.image_bar.isVisible(), 60, "the bar")
    assert panel.image_bar.text.text().startswith("'biopsy of a …ption, 2026' is in use")


def test_annotate_fits_while_a_bar_and_a_message_are_shown(
    panel: SamPathPanel, viewer: Any, tissue: np.ndarray
) -> None:
    driver = opened(panel, viewer, tissue)
    viewer.window._qt_window.resize(1280, 800)
    dock = click_tab(panel, "Annotate")
    other = viewer.add_image(tissue[::-1], name="image of some length (scan 2)")
    wait_until(lambda: panel.state.image is other and panel.state.ready, 60, "the other image")
    other.visible = viewer.layers["tissue"].visible = False
    wait_until(lambda: panel.state.follower.notice is not None, 60, "the bar")
    panel.state.message.emit("The weights of 'vit_b' are not on this machine. " * 3)
    for theme in ("dark", "light"):
        viewer.theme = theme
        driver.settle()
        assert any(bar.isVisible() for bar in panel.findChildren(ImageBar))
        assert_nothing_cut_off(viewer, dock)
        assert dock.verticalScrollBar().maximum() == 0
    other.visible = True
    panel.state.message.emit("")
    wait_until(
        lambda: dock.classes.list.height() >= 3 * dock.classes.list.sizeHintForRow(0), 60, "three rows"
    )


def test_the_header_shows_image_project_model_and_saved_changes(
    panel: SamPathPanel, viewer: Any, tissue: np.ndarray, tmp_path: Path
) -> None:
    driver, header = opened(panel, viewer, tissue), panel.header
    assert header.image.text() == "tissue"
    assert header.saved.text() == "nothing to save yet"
    assert header.project.text() == "Not in a project"
    assert header.model.text().endswith("ready")
    assert not header.put_in_button.isVisible()
    panel.state.session.paint([60, 61], [50, 50], 1)
    assert header.saved.text() == f"saved {datetime.now():%H:%M}"
    training = panel.state.training
    training.choose(tmp_path / "glands", "Glands")
    wait_until(lambda: training.project is not None, 60, "the project")
    assert header.project.text() == "Not in 'Glands'"
    driver.settle()
    driver.press(header.put_in_button)
    wait_until(lambda: header.project.text() == "Glands: in the training set", 60, "the image")
    wait_until(lambda: header.training_button.isEnabled(), 60, "the end of the change")
    driver.settle()
    driver.press(header.training_button)
    wait_until(lambda: header.project.text() == "Glands: not in the training set", 60, "the change")


def test_running_work_of_any_dock_is_shown_and_cancelled(
    panel: SamPathPanel, viewer: Any, tissue: np.ndarray
) -> None:
    from napari_sampath.jobs import Progress

    driver, header = opened(panel, viewer, tissue), panel.header
    dock = click_tab(panel, "Objects") and click_tab(panel, "Export")
    runner = next(iter(panel.state.activity._watched.values())).runner()
    assert dock is not None
    assert runner is not None

    def endless() -> Any:
        done = 0
        while True:
            done += 1
            yield Progress(done, 1000, "Counting", "sheep")

    runner.start(endless(), "counting", lambda _result: None)
    wait_until(lambda: "Counting" in header.doing.text(), 60, "the report")
    assert header.work.currentIndex() == 1
    assert header.bar.maximum() > 0, "the bar is not animated"
    driver.settle()
    driver.press(header.cancel_button)
    assert not runner.busy
    assert runner.wait(60)
    assert header.work.currentIndex() == 0


def test_removing_the_panel_leaves_nothing(panel: SamPathPanel, viewer: Any, tissue: np.ndarray) -> None:
    opened(panel, viewer, tissue)
    for title in TABS:
        click_tab(panel, title)
    viewer.window.remove_dock_widget(panel)


def test_the_plugin_menu_opens_the_panel(viewer: Any) -> None:
    _, panel = viewer.window.add_plugin_dock_widget("napari-sampath", "SamPath")
    assert isinstance(panel, SamPathPanel)
    assert panel.state.viewer is getattr(viewer, "__wrapped__", viewer)


def test_a_failure_is_shown_whatever_tab_is_open(panel: SamPathPanel, viewer: Any) -> None:
    click_tab(panel, "Train")
    viewer.add_image(np.full((50, 60, 3), 200, np.uint8), name="blank")
    wait_until(lambda: "same value" in panel.header.model.toolTip(), 60, "the sentence")
