"""Nothing gets into a dataset that the user did not put in: images are opened, annotated and closed for real."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from PIL import Image

from napari_sampath.formats import DatasetFolder
from napari_sampath.images.slides import open_slide
from napari_sampath.jobs import run
from napari_sampath.session import Project, Session
from napari_sampath.widgets.viewer.training.membership import _put_in_job
from napari_sampath.widgets.viewer.viewer_state import ViewerState
from support.models.discs import DiscModel
from support.models.project_images import noise
from support.slide_files import write_large_tiff

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.gui


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def opened(open_window: Callable[..., Any], tissue: np.ndarray, tmp_path: Path) -> Callable[[], Any]:
    """Open an image file in a viewer with the Project dock; return (window, dock)."""

    def make() -> Any:
        from napari_sampath.widgets.project.dock import ProjectDock

        path = tmp_path / "scans" / "case 1.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(tissue).save(path)
        window = open_window(tissue, DiscModel(), name="case 1", metadata={"sampath_file": str(path)})
        dock = ProjectDock(window.viewer, window.state)
        window.viewer.window.add_dock_widget(dock, name="Project", area="right", tabify=True)
        dock.parentWidget().raise_()
        window.driver.settle()
        return window, dock

    return make


def idle(window: Any) -> None:
    training = window.state.training
    wait_until(
        lambda: not (training.runner.busy or training.membership.runner.busy or training._timer.isActive()),
        60,
        "the project",
    )
    window.driver.settle()


def test_a_project_of_an_earlier_start_receives_nothing(opened: Callable[..., Any], tmp_path: Path) -> None:
    window, dock = opened()
    dock.open_project(tmp_path / "glands")
    idle(window)
    window.state.training.close_project()
    before = files_in(tmp_path / "glands")
    later = ViewerState(window.viewer, sessions_dir=window.state.sessions_dir)
    try:
        assert later.training.last_project == tmp_path / "glands"
        assert later.training.project is None
    finally:
        later.close()
    window.session.paint([60, 61], [50, 50], 1)
    window.session.area.mark((0, 0, 120, 160))
    window.state.training.save()
    idle(window)
    assert files_in(tmp_path / "glands") == before
    assert "Not in a project" in dock.image.text.text()
    assert dock.start.isVisible()
    assert "glands" in dock.start.continue_button.text()


def test_an_open_project_receives_only_what_is_put_in_by_a_click(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    window, dock = opened()
    dock.open_project(tmp_path / "glands")
    idle(window)
    assert not dock.start.isVisible()
    window.session.paint([60, 61], [50, 50], 1)
    window.session.area.mark((0, 0, 120, 160))
    idle(window)
    assert not DatasetFolder.open(tmp_path / "glands").images
    assert "Not in 'glands'" in dock.image.text.text()
    window.driver.press(dock.image.put_in_button)
    idle(window)
    assert "in the training set" in dock.image.text.text()
    assert set(DatasetFolder.open(tmp_path / "glands").images) == {"case 1"}
    entry = Project(tmp_path / "glands").image("case 1")
    assert entry.file == str(tmp_path / "scans" / "case 1.png")
    assert not (tmp_path / "glands" / "sources").exists(), "the file is used in place"
    window.driver.press(dock.image.training)
    idle(window)
    assert not DatasetFolder.open(tmp_path / "glands").images
    window.session.paint([70, 71], [50, 50], 1)
    idle(window)
    assert not DatasetFolder.open(tmp_path / "glands").images
    window.driver.press(dock.image.training)
    idle(window)
    assert (DatasetFolder.open(tmp_path / "glands").read("case 1").labels == 1).sum() == 4
    window.driver.press(dock.image.take_out_button)
    idle(window)
    assert not Project(tmp_path / "glands").images
    assert len(window.session.document.objects) == 2


def test_a_second_image_does_not_follow_the_first(opened: Callable[..., Any], tmp_path: Path) -> None:
    window, dock = opened()
    dock.open_project(tmp_path / "glands")
    idle(window)
    window.session.paint([60, 61], [50, 50], 1)
    window.driver.press(dock.image.put_in_button)
    idle(window)
    other = noise(3, (60, 80))
    layer = window.viewer.add_image(other, name="other", rgb=True)
    window.state.choose_image(layer)
    wait_until(lambda: window.state.session is not None and window.state.session.name == "other", 60, "it")
    window.state.session.paint([3, 4], [5, 5], 1)
    idle(window)
    assert set(DatasetFolder.open(tmp_path / "glands").images) == {"case 1"}
    assert "Not in 'glands'" in dock.image.text.text()
    assert not dock.image.copy_button.isEnabled(), "the layer has no file to copy"
    window.driver.press(dock.image.put_in_button)
    idle(window)
    image = Project(tmp_path / "glands").image("other")
    assert image.file.startswith("sources/"), "pixels without a file are saved"


def test_the_class_list_of_the_project_reaches_the_image_and_back(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    window, dock = opened()
    dock.open_project(tmp_path / "glands")
    idle(window)
    dock.project.class_menu.add_preset("glands")
    idle(window)
    window.driver.press(dock.image.put_in_button)
    idle(window)
    names = [info.name for info in window.session.classes]
    assert names == ["benign gland", "malignant gland", "lumen"]
    window.session.classes.rename(1, "crypt")
    assert Project(tmp_path / "glands").classes[0].name == "crypt"
    window.session.paint([60, 61], [50, 50], 3)
    dock.project.class_menu.take_out(3, 2)
    idle(window)
    assert [info.name for info in window.session.classes] == ["crypt", "malignant gland"]
    assert {obj.class_id for obj in window.session.document.objects.values()} == {2}
    assert [info.name for info in Project(tmp_path / "glands").classes] == ["crypt", "malignant gland"]


def test_working_without_a_project_writes_the_journal_only(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    window, _dock = opened()
    home = window.state.sessions_dir.parent
    before = files_in(home) | files_in(tmp_path)
    window.session.paint([60, 61], [50, 50], 1)
    window.session.area.mark((0, 0, 120, 160))
    window.driver.settle()
    window.viewer.layers.clear()
    window.driver.settle()
    new = (files_in(home) | files_in(tmp_path)) - before
    assert {name.split("/")[0] for name in new} <= {window.state.sessions_dir.name, "features"}


def test_images_of_a_folder_get_in_and_out_from_the_strip(opened: Callable[..., Any], tmp_path: Path) -> None:
    window, dock = opened()
    other = tmp_path / "scans" / "case 2.png"
    Image.fromarray(noise(4, (60, 80))).save(other)
    dock.open_project(tmp_path / "glands")
    idle(window)
    dock.controller.open_folder(tmp_path / "scans")
    wait_until(lambda: dock.thumbnails.count() == 2, 60, "the folder")
    wait_until(lambda: window.state.session is not None, 60, "the first image")

    def choose(number: int) -> None:
        dock.project_menu("case 2.png").actions()[number].trigger()
        idle(window)

    choose(0)
    assert Project(tmp_path / "glands").image("case 2").training
    assert "in the training set (T)" in dock.thumbnails.item(1).toolTip()
    choose(0)
    assert not Project(tmp_path / "glands").image("case 2").training
    assert "not in the training set (P)" in dock.thumbnails.item(1).toolTip()
    choose(1)
    assert not Project(tmp_path / "glands").images
    assert "project" not in dock.thumbnails.item(1).toolTip()
    assert dock.image.put_in_button.isVisible()


def test_a_slide_is_added_by_its_file(tmp_path: Path) -> None:
    file = write_large_tiff(tmp_path / "biopsy.tif")
    project = Project.create(tmp_path / "project")
    with open_slide(file) as slide:
        session = Session(slide, "biopsy")
        image = run(_put_in_job(project, session, file, copy=False, training=True))
    assert (image.file, image.hw, image.training) == (str(file), session.hw, True)
