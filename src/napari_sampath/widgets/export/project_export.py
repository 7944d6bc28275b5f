"""Export of the open project as a training dataset."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QDialog, QFileDialog, QLineEdit, QVBoxLayout, QWidget

from ...errors import SampathError
from ...files.messages import plural
from ...formats.layouts import LAYOUTS, ExportSettings
from ...jobs import Job
from ..common.controls import button, check_box, column, combo_box, form, label, row, set_items
from ..common.settings_form import SettingsForm
from ..viewer.viewer_state import ViewerState
from .jobs import export_project_job

if TYPE_CHECKING:
    from ...session.exports import DatasetExport

Start = Callable[[Job[Any], str, Callable[[Any], object]], object]
"""Function that starts a job; arguments: the job, its description, and the receiver of its result."""


class ProjectExport(QWidget):
    """Layout, splits, patches and folder of the export of a project.

    Args:
        state: The viewer state, which has the open project.
        start: Starts the job.
    """

    message = Signal(str)
    """Message for the user."""

    def __init__(self, state: ViewerState, start: Start) -> None:
        super().__init__()
        self._state, self._start = state, start
        self._project: Path | None = None
        """Folder of the project that is shown."""
        self.text = label(wrap=True)
        self.layout_choice = combo_box("Layout of the dataset")
        set_items(
            self.layout_choice, [(entry.label, entry.name, entry.summary) for entry in LAYOUTS.values()]
        )
        self.settings: SettingsForm[ExportSettings] = SettingsForm(ExportSettings())
        self.options_button = button(
            "Options", "Splits, patches, scale, and what is left out", self._show_options, checkable=True
        )
        self.settings.hide()
        self.folder = QLineEdit()
        self.folder.setToolTip("Folder for the dataset; new, empty, or that of an earlier export")
        self.folder.setAccessibleName("Folder for the dataset")
        self.folder.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.folder.editingFinished.connect(self._follow_folder)
        self.browse_button = button("…", "Choose the folder for the dataset", self._browse)
        self.browse_button.setMaximumWidth(32)
        self.update_box = check_box("Update", "Replace an earlier export in the folder; equal files are kept")
        self.export_button = button(
            "Export project", "Write all images of the project as one dataset", self.export
        )
        column(
            self.text,
            form(
                ("Layout", self.layout_choice), ("Dataset", row(self.folder, self.browse_button, stretch=0))
            ),
            row(self.export_button, self.update_box, self.options_button, stretch=0),
            self.settings,
            parent=self,
        )
        self.refresh()

    def refresh(self, busy: bool = False) -> None:
        """Show the open project; while the dock is busy, it cannot be exported."""
        project = self._state.training.project
        self.export_button.setEnabled(project is not None and not busy)
        if project is None:
            self.text.setText("Open a project to export all its images as one dataset.")
            return
        self.text.setText(f"{project.name}: {plural(len(project.images), 'image')}")
        if project.path != self._project:  # The folder of another project has its dataset.
            self._project = project.path
            self.folder.setText(str(project.path.parent / f"{project.path.name}-dataset"))
            self._follow_folder()

    def export(self) -> None:
        """Export the open project."""
        training, project = self._state.training, self._state.training.project
        if project is None:
            return
        folder = Path(self.folder.text().strip()).expanduser()
        if not folder.is_absolute():  # A relative path would depend on where napari was started.
            self.message.emit(
                f"'{self.folder.text()}' is not an absolute path; choose a folder with the button beside it."
            )
            return
        try:
            settings = self.settings.value()
        except SampathError as error:
            self.message.emit(str(error))
            return
        job = export_project_job(
            training.save_job(),
            project,
            folder,
            self.layout_choice.currentData(),
            self._state.sessions_dir,
            settings,
            self.update_box.isChecked(),
        )
        self._start(job, "exporting the project", self._on_exported)

    def _show_options(self) -> None:
        self.settings.setVisible(self.options_button.isChecked())

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the dataset", self.folder.text())
        if folder:
            self.folder.setText(folder)
            self._follow_folder()

    def _follow_folder(self) -> None:
        """Show the layout and settings of an earlier export in the folder."""
        from ...session.exports import saved_settings

        folder = Path(self.folder.text().strip()).expanduser()
        try:
            saved = saved_settings(folder) if folder.is_absolute() else None
        except SampathError as error:
            self.message.emit(str(error))
            return
        self.update_box.setChecked(saved is not None)
        if saved is not None:
            self.layout_choice.setCurrentIndex(self.layout_choice.findData(saved[0]))
            self.settings.setValue(saved[1])

    def _on_exported(self, result: DatasetExport) -> None:
        self.update_box.setChecked(True)  # The next export of this folder is an update.
        self.message.emit(" ".join(sentences(result)))


def sentences(result: DatasetExport) -> list[str]:
    """Describe an export in a few sentences; its README has the details."""
    total = sum(result.objects.values())
    content = f"{plural(len(result.images), 'image')} with {plural(total, 'object')}"
    lines = [f"Exported {content} to {result.folder}; see README.txt."]
    if result.unreviewed:
        lines.append(f"{plural(result.unreviewed, 'object')} never reviewed.")
    if result.unknown_share:
        lines.append(f"{100 * result.unknown_share:.0f} % of the pixels are neither labelled nor verified.")
    if result.skipped:
        name, reason = next(iter(result.skipped.items()))
        lines.append(
            f"{plural(len(result.skipped), 'image')} not exported, such as '{name}': {reason.rstrip('.')}."
        )
    problems = [line for line in result.check.splitlines() if line.startswith(("PROBLEM", "LEAK"))]
    if problems:
        lines.append(problems[0].partition(": ")[2])
    return lines


class ProjectExportDialog(QDialog):
    """Window for exporting the open project, opened from the Project tab."""

    def __init__(self, state: ViewerState, start: Start, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export the project")
        self.form = ProjectExport(state, start)
        self.status = label(wrap=True)
        self.form.message.connect(self.status.setText)
        self.close_button = button("Close", "Close this window", self.close)
        box = QVBoxLayout(self)
        box.addWidget(self.form)
        box.addWidget(self.status)
        box.addLayout(row(self.close_button))
        state.training.runner.failed.connect(self.status.setText)
        state.training.membership.runner.failed.connect(self.status.setText)
        self.finished.connect(partial(state.training.project_changed.emit))
