"""The images of the open project: listed, opened, changed; missing files, duplicates and zip files."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.gui_driver import GuiDriver, wait_until
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from napari_sampath.arrays import ClassInfo
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.session import Project
from napari_sampath.widgets.export.project_export import ProjectExport
from napari_sampath.widgets.project.dock import ProjectDock
from napari_sampath.widgets.viewer.viewer_state import ViewerState
from support.models.discs import DiscModel, loader
from support.models.patches import disc_image
from support.models.project_exports import Study

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gui


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = Study(tmp_path / "study")
    for number, name in enumerate(("a", "b")):
        study.add(name, seed=number)
    return study


@pytest.fixture
def dock(viewer: Any, study: Study) -> ProjectDock:
    dock = ProjectDock(viewer, ViewerState(viewer, loader(DiscModel()), study.journals))
    viewer.window.add_dock_widget(dock, name="Project", area="right")
    dock.open_project(study.project.path)
    idle(dock)
    return dock


def idle(dock: ProjectDock) -> None:
    training = dock.state.training
    wait_until(
        lambda: not (training.runner.busy or training.membership.runner.busy or training._timer.isActive()),
        60,
        "the project",
    )
    GuiDriver(dock.state.viewer, dock.state.image).settle()


def rows(dock: ProjectDock) -> list[list[str]]:
    listed = dock.project.images
    items = [listed.topLevelItem(index) for index in range(listed.topLevelItemCount())]
    return [[item.text(column) for column in range(3)] for item in items]


def choose(dock: ProjectDock, name: str, *texts: str) -> None:
    """Choose an entry of the menu of an image."""
    menu = dock.project.images.menu_of(dock.state.training.project.image(name))
    for text in texts:
        action = next(action for action in menu.actions() if action.text() == text)
        assert action.isEnabled()
        menu = action.menu() or action.trigger()
    idle(dock)


def test_images_are_listed_opened_and_changed(dock: ProjectDock, study: Study) -> None:
    assert rows(dock) == [["a", "nothing verified yet", "a"], ["b", "nothing verified yet", "b"]]
    listed = dock.project.images
    place = listed.visualItemRect(listed.topLevelItem(1)).center()
    QTest.mouseClick(listed.viewport(), Qt.MouseButton.LeftButton, pos=place)
    QTest.mouseDClick(listed.viewport(), Qt.MouseButton.LeftButton, pos=place)
    wait_until(lambda: dock.state.ready and len(dock.state.session.document.objects) == 3, 60, "image b")
    dock.state.session.area.complete((0, 0, 96, 120))
    dock.state.training.save()
    idle(dock)
    wait_until(lambda: rows(dock)[1][1] == "training", 60, "the sample")
    choose(dock, "b", "Use its slide or case for", "Validation")
    assert rows(dock)[1][1] == "validation"
    choose(dock, "b", "Remove from the training set")
    assert rows(dock)[1][1] == "not for training"
    choose(dock, "a", "Open")
    wait_until(lambda: dock.state.ready and dock.state.image.name == "a", 60, "image a")
    layers = len(dock.state.images())
    choose(dock, "b", "Open")
    wait_until(lambda: dock.state.ready and dock.state.image.name == "b", 60, "image b again")
    assert len(dock.state.images()) == layers, "an open image is not opened twice"
    choose(dock, "b", "Remove from the project")
    assert [row[0] for row in rows(dock)] == ["a"]
    assert len(dock.state.session.document.objects) == 3


def test_missing_files_and_duplicates_are_repaired_in_the_window(
    dock: ProjectDock, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moved").mkdir()
    shutil.move(study.file("a"), tmp_path / "moved" / "other name.png")
    dock.project.refresh()
    assert ["a", "file missing", "a"] in rows(dock)
    choose(dock, "a", "Open")
    assert "The file of 'a' is missing" in dock.status.message.text()
    driver = GuiDriver(dock.state.viewer, dock.state.image)
    driver.press(dock.project.check_button)
    idle(dock)
    panel = dock.project.question_panel
    assert "The file of 'a' is missing" in panel.text.text()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "moved"))
    driver.press(next(button for button in panel.buttons if button.text() == "Search a folder…"))
    idle(dock)
    assert "Found again: a." in dock.status.message.text()
    assert ["a", "nothing verified yet", "a"] in rows(dock)
    old = DatasetFolder.create(tmp_path / "old", (ClassInfo(1, "object", (0, 158, 115)),))
    for name in ("disc", "disc again"):
        old.save_image(Snapshot(name, *disc_image(1, (64, 80))))
    dock.open_project(old.path)
    idle(dock)
    driver.press(dock.project.check_button)
    idle(dock)
    assert "'disc again' has the same pixels as 'disc'" in panel.text.text()
    driver.press(next(button for button in panel.buttons if button.text() == "Remove duplicates"))
    idle(dock)
    assert set(DatasetFolder.open(old.path).images) == {"disc"}


def test_a_packed_project_is_unpacked_and_opened(
    dock: ProjectDock, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dock.project.pack(tmp_path / "study.zip")
    idle(dock)
    dock.state.training.close_project()
    idle(dock)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "study.zip"), ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    GuiDriver(dock.state.viewer, dock.state.image).press(dock.start.zip_button)
    wait_until(lambda: dock.state.training.project is not None, 60, "the project")
    assert dock.state.training.project.path == tmp_path / "study (2)", "a folder 'study' exists"
    assert [row[0] for row in rows(dock)] == ["a", "b"]


def test_what_is_open_of_one_project_does_not_reach_the_next(dock: ProjectDock, tmp_path: Path) -> None:
    """Notes, a question about duplicates, and the folder of the export."""
    projects = []
    for name in ("first", "second"):
        old = DatasetFolder.create(tmp_path / name, (ClassInfo(1, "object", (0, 158, 115)),))
        for number in range(2 if name == "second" else 1):
            old.save_image(Snapshot(f"disc {number}", *disc_image(1, (64, 80))))
        if name == "first":
            old.save_image(Snapshot("disc 1", *disc_image(2, (64, 80))))
        projects.append(Project(old.path))
    first, second = projects
    dock.open_project(second.path)
    idle(dock)
    export = ProjectExport(dock.state, lambda *_: None)
    export.setParent(dock)
    assert export.folder.text() == str(tmp_path / "second-dataset")
    driver = GuiDriver(dock.state.viewer, dock.state.image)
    driver.press(dock.project.check_button)
    idle(dock)
    assert "has the same pixels" in dock.project.question_panel.text.text()
    driver.press(dock.project.notes_button)
    dock.project.notes.setPlainText("about the second")

    dock.open_project(first.path)
    idle(dock)
    assert dock.project.questions.current is None, "its answer would remove samples of another project"
    assert dock.project.notes.isHidden()
    assert not dock.project.notes_button.isChecked()
    for _ in range(2):
        driver.press(dock.project.notes_button)
    assert (Project(first.path).notes, Project(second.path).notes) == ("", "about the second")
    export.refresh()
    assert export.folder.text() == str(tmp_path / "first-dataset")


def test_a_hidden_list_looks_up_no_files(dock: ProjectDock, study: Study) -> None:
    """The state changes at every click; a project can have thousands of images on a slow drive."""
    dock.parentWidget().hide()
    study.file("a").unlink()
    dock.state.changed.emit()
    assert rows(dock)[0][1] == "nothing verified yet"
    dock.parentWidget().show()
    assert rows(dock)[0][1] == "file missing"
