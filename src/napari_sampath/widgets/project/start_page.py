"""Page shown before a project is open: open an image or folder, try a sample, open or continue a project."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QMenu, QWidget

from ...errors import ImageError
from ...files import free_name
from ...files.messages import plural
from ..canvas.image_opening import open_file
from ..common.controls import button, button_grid, column, label, plain_tooltip
from ..viewer.viewer_state import ViewerState

NOT_IN_A_PROJECT = (
    "Not in a project: you can annotate, segment and export any image. Annotations are saved as you make them; "
    "nothing is copied. Open a project to keep images, classes and heads together, and to train."
)


class StartPage(QWidget):
    """Buttons that open images and projects."""

    project_selected = Signal(object)
    """Emitted with the folder (`Path`) of a new or existing project."""
    zip_selected = Signal(object, object)
    """Emitted with a packed project (`Path`) and the folder (`Path`) into which it is unpacked."""
    folder_selected = Signal(object)
    """Emitted with a folder (`Path`) of images."""

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self._state = state
        self.text = label(NOT_IN_A_PROJECT, wrap=True)
        self.image_button = button("Open image…", "Open an image file", self.choose_images)
        self.folder_button = button("Open folder…", "Work through a folder of images", self._choose_folder)
        self.sample_button = button("Try a sample", "Open a small image that comes with SamPath")
        self.sample_menu = QMenu(self.sample_button)
        self.sample_button.setMenu(self.sample_menu)
        self.new_button = button("New project…", "Choose a folder for a new project", self._choose_new)
        self.open_button = button("Open project…", "Open a project or dataset folder", self._choose_project)
        self.zip_button = button(
            "Unpack project…",
            "Unpack a project from a zip file, such as one from a colleague",
            self._choose_zip,
        )
        self.continue_button = button("Continue project", "", self._continue)
        buttons = (
            self.image_button,
            self.folder_button,
            self.sample_button,
            self.new_button,
            self.open_button,
            self.zip_button,
            self.continue_button,
        )
        column(self.text, button_grid(buttons, 2), parent=self)
        self._fill_samples()

    def refresh(self) -> None:
        """Show the last project, if there is one."""
        last = self._state.training.last_project
        self.continue_button.setEnabled(last is not None)
        self.continue_button.setText(
            "Continue project" if last is None else f"Continue '{_short(last.name)}'"
        )
        self.continue_button.setToolTip(
            "No project was opened yet" if last is None else plain_tooltip(str(last))
        )

    def open_images(self, paths: list[Path]) -> None:
        """Open image files and slides as layers; report those that cannot be opened."""
        opened, sentences = 0, []
        for path in paths:
            try:
                opened += open_file(self._state.viewer, path)
            except ImageError as error:
                sentences.append(str(error))
        if opened:
            sentences.insert(0, f"Opened {plural(opened, 'image')}.")
        if sentences:
            self._state.message.emit(" ".join(sentences))

    def open_sample(self, name: str) -> None:
        """Open one of the images that come with the package."""
        from ..samples import SAMPLES

        for data, options, _kind in SAMPLES[name][1]():
            self._state.viewer.add_image(data, **options)

    def _fill_samples(self) -> None:
        from ..samples import SAMPLES

        for name, (title, _) in SAMPLES.items():
            self.sample_menu.addAction(title.replace("&", "&&"), partial(self.open_sample, name))

    def choose_images(self) -> None:
        """Let the user choose image files, and open them."""
        paths, _ = QFileDialog.getOpenFileNames(self, "Open images", str(Path.home()))
        self.open_images([Path(path) for path in paths])

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of images", str(Path.home()))
        if folder:
            self.folder_selected.emit(Path(folder))

    def _choose_new(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of the new project", str(Path.home()))
        if folder:
            self.project_selected.emit(Path(folder))

    def _choose_project(self) -> None:
        start = self._state.training.last_project or Path.home()
        folder = QFileDialog.getExistingDirectory(self, "Folder of the project", str(start))
        if folder:
            self.project_selected.emit(Path(folder))

    def _choose_zip(self) -> None:
        source, _ = QFileDialog.getOpenFileName(self, "Packed project", str(Path.home()), "Zip files (*.zip)")
        if not source:
            return
        file = Path(source)
        title = f"Folder in which '{file.stem}' is created"
        place = QFileDialog.getExistingDirectory(self, title, str(file.parent))
        if place:
            name = free_name(file.stem, (path.name for path in Path(place).iterdir()))
            self.zip_selected.emit(file, Path(place) / name)

    def _continue(self) -> None:
        last = self._state.training.last_project
        if last is not None:
            self.project_selected.emit(last)


def _short(name: str, letters: int = 16) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"
