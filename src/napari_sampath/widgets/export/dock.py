"""The Export dock: export annotations to files, and import annotations from other programs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLineEdit

from ...annotations import AnnotatedObject
from ...files import file_stem
from ...files.messages import plural
from ...session import NewObjects
from ...session.figures import FigureSettings
from ..background.workers import JobRunner
from ..canvas.shown_image import source_file
from ..canvas.viewport import box_in_view
from ..common.apply_queue import ApplyQueue
from ..common.base_dock import Dock
from ..common.controls import button, check_box, form, group, row
from ..common.question_panel import QuestionPanel
from ..common.script_view import Script, script_button
from ..common.settings_form import SettingsForm
from ..common.status_line import StatusLine
from ..viewer.jobs import import_job
from ..viewer.questions import Questions
from ..viewer.viewer_state import ViewerState
from .format_list import FormatList, file_filter
from .import_options import ImportSettings, question
from .jobs import export_images_job, figure_job
from .layer_form import LayerForm
from .project_export import ProjectExport
from .script import export_script

if TYPE_CHECKING:
    from ...formats import ImportChoiceError, ReadOptions
    from ...session.exports import FolderExport

IMPORT_FILE_HINT = (
    "Add the objects of a label image or of an annotation file (GeoJSON, COCO, CVAT, ImageJ ...)"
)
WITH_RESULT_HINT = (
    "Also write the objects of the head that you have not touched; your annotations keep their pixels"
)
IMPORT_FOLDER_HINT = "Add the objects of an exported folder, an OME-Zarr, CVAT masks or an nnU-Net dataset"


class ExportDock(Dock):
    """Writes the annotations in the selected formats, and imports files of these formats.

    Files are written atomically, so that an existing file is replaced completely or not at all.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__(napari_viewer, state)
        self.runner = JobRunner(self)
        self.apply_queue = ApplyQueue(self.state, self)
        self.folder = QLineEdit(str(Path.home()))
        self.folder.setToolTip("Folder for the files; it is created if it does not exist")
        self.folder.setAccessibleName("Folder for the files")
        self.folder.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.browse_button = button("…", "Choose the folder", self._browse)
        self.browse_button.setMaximumWidth(32)
        self.formats = FormatList()
        self.with_result = check_box("With the result of the head on the slide", WITH_RESULT_HINT)
        self.export_button = button("Export", "Write the annotations in the selected formats", self._export)
        self.export_folder_button = button(
            "Export a folder…",
            "Write the annotations of all images of a folder and its subfolders in the selected formats",
            self._choose_images,
        )
        self.figure_button = button(
            "Figure…",
            "Save the view with outlines, a legend and a scale bar as PNG or SVG",
            self._choose_figure,
        )
        self.import_file_button = button("Import a file…", IMPORT_FILE_HINT, self._import_file)
        self.import_folder_button = button("Import a folder…", IMPORT_FOLDER_HINT, self._import_folder)
        self.import_settings = SettingsForm(ImportSettings())
        self.layers = LayerForm(self.state, self.apply_queue, self.runner.start)
        self.project = ProjectExport(self.state, self.runner.start)
        self.questions = Questions(self)
        self.question_panel = QuestionPanel()
        self.questions.changed.connect(lambda: self.question_panel.show_question(self.questions))
        self.status = StatusLine(self.runner, self._idle)
        self.script_button = script_button(self, self.script, self.status.say)
        self.fill(
            form(("Folder", row(self.folder, self.browse_button, stretch=0))),
            group("Formats", self.formats),
            self.with_result,
            row(self.export_button, self.export_folder_button, self.figure_button, self.script_button),
            self.question_panel,
            self.status,
            group("Project", self.project),
            group("Import", self.import_settings, row(self.import_file_button, self.import_folder_button)),
            group("Objects from a layer", self.layers),
        )
        for part in (self.layers, self.project):
            part.message.connect(self.status.say)
        self.state.training.project_changed.connect(self.project.refresh)
        self.state.changed.connect(self.refresh)
        self.apply_queue.message.connect(self.status.say)
        self.status.expire_on(self.state.image_chosen, self.state.training.edited)
        self.state.image_chosen.connect(
            self.questions.dismiss
        )  # The answer would be used for the other image.
        for signal in (self.apply_queue.changed, self.runner.started, self.runner.finished):
            signal.connect(self.refresh)
        self.cancel_on_close(self.runner, self.apply_queue.runner)
        self.state.start()
        self.refresh()

    def refresh(self) -> None:
        """Show the current state."""
        session = self.state.session
        busy = self.runner.busy or self.apply_queue.busy  # A new job would cancel the running one.
        self.status.refresh()
        for widget in (
            self.export_button,
            self.figure_button,
            self.import_file_button,
            self.import_folder_button,
        ):
            widget.setEnabled(session is not None and not busy)
        self.export_folder_button.setEnabled(not busy)
        self.layers.refresh(busy)
        self.project.refresh(busy)
        self.with_result.setVisible(session is not None and session.proposals.untouched is not None)

    def _idle(self) -> str:
        session = self.state.session
        if session is None:
            return "Open an image first."
        return f"Export writes the committed objects of '{session.name}'."

    def import_from(self, path: str | Path, options: ReadOptions | None = None) -> None:
        """Add the objects of a file or folder to the session, as one undo step.

        Args:
            path: The file or folder.
            options: The answers to earlier questions; by default, the choices of the form, with questions.
        """
        session, name = self.state.session, Path(path).name
        if session is None:
            return
        self.questions.dismiss()
        chosen = options or self.import_settings.value().options()

        def add(result: NewObjects | ImportChoiceError) -> None:
            if session is not self.state.session:
                self.status.say(
                    f"{name} was not imported, because '{session.name}' is no longer in use; return to it and try "
                    "again."
                )
                return
            if isinstance(result, Exception):
                read_again = partial(self.import_from, path)
                self.questions.ask(question(result, chosen, read_again))
                return
            notes.extend(session.files.import_notes(result))
            self.apply_queue.add(session, session.files.import_change(result), on_done)

        def on_done(objects: list[AnnotatedObject]) -> None:
            text = f"Imported {plural(len(objects), 'object')} from {name}; Undo removes them."
            self.status.say(" ".join([text, *notes]))

        notes: list[str] = []
        self.runner.start(import_job(session, Path(path), chosen), f"reading {name}", add)

    def script(self) -> Script | str:
        """Return the export of the settings shown as a script, or a sentence that explains why there is none."""
        from ...session import journal_path

        session, image = self.state.session, self.state.image
        file = None if image is None else source_file(image)
        if session is None or file is None:
            return "The image has no file that a script could read; open an image from a file."
        journal = journal_path(session.image, self.state.sessions_dir)
        folder = Path(self.folder.text().strip()).expanduser()
        return export_script(file, journal, session.name, folder, self.formats.value())

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the files", self.folder.text())
        if folder:
            self.folder.setText(folder)

    def _export(self) -> None:
        session, target = self.state.session, self._target()
        if session is None or target is None:
            return
        notes: list[str] = []
        untouched = session.proposals.untouched if self.with_result.isChecked() else None
        job = session.files.export_job(*target, notes, untouched)
        self.runner.start(job, "writing the annotations", partial(self._on_exported, notes))

    def _target(self) -> tuple[Path, tuple[str, ...]] | None:
        """Return the folder and the selected formats; None, with a message, if one is missing."""
        formats, folder = self.formats.value(), Path(self.folder.text().strip()).expanduser()
        if not formats:
            self.status.say("No format is selected; select at least one.")
            return None
        if not folder.is_absolute():  # A relative path would depend on where napari was started.
            self.status.say(
                f"'{self.folder.text()}' is not an absolute path; choose a folder with the button beside it."
            )
            return None
        return folder, formats

    def export_images(self, images: Path) -> None:
        """Export the annotated images of a folder and its subfolders in the selected formats."""
        target = self._target()
        if target is not None:
            job = export_images_job(images, *target, self.state.sessions_dir)
            self.runner.start(job, "exporting the folder", self._on_images_exported)

    def _choose_images(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of annotated images", str(Path.home()))
        if folder:
            self.export_images(Path(folder))

    def _on_images_exported(self, result: FolderExport) -> None:
        objects = plural(sum(result.images.values()), "object")
        lines = [f"Wrote {plural(len(result.images), 'image')} with {objects} to {result.folder}."]
        lines += [f"{name} was not exported: {reason}" for name, reason in result.skipped.items()]
        self.status.say(" ".join([*lines, *result.notes]))

    def _on_exported(self, notes: list[str], paths: list[Path]) -> None:
        names = ", ".join(path.name for path in paths)
        self.status.say(" ".join([f"Wrote {names} to {paths[-1].parent}.", *notes]))

    def save_figure(self, path: Path, settings: FigureSettings | None = None) -> None:
        """Save what is in view as a figure.

        Args:
            path: The file, `.png` or `.svg`.
            settings: What is drawn.
        """
        session, image = self.state.session, self.state.image
        if session is None or image is None:
            return
        box = box_in_view(self.state.viewer, image, session.hw)
        job = figure_job(session, box, path, settings or FigureSettings())
        self.runner.start(job, "drawing the figure", self._on_figure)

    def _choose_figure(self) -> None:
        session = self.state.session
        if session is None:
            return
        start = str(Path(self.folder.text()).expanduser() / f"{file_stem(session.name)}.png")
        path, _ = QFileDialog.getSaveFileName(self, "Figure", start, "Figures (*.png *.svg)")
        if path:
            self.save_figure(Path(path) if Path(path).suffix else Path(f"{path}.png"))

    def _on_figure(self, result: tuple[Path, tuple[str, ...]]) -> None:
        path, notes = result
        self.status.say(" ".join([f"Wrote {path}.", *notes]))

    def _import_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Annotations", self.folder.text(), file_filter())
        if path:
            self.import_from(path)

    def _import_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Exported folder or OME-Zarr", self.folder.text())
        if path:
            self.import_from(path)
