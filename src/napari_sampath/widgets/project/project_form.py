"""Controls of the open project: name, content, notes, class list, sharing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QLineEdit, QMenu, QPlainTextEdit, QWidget

from ...files.messages import plural
from ..canvas.image_opening import show_layer_of
from ..common.controls import button, column, label, plain_tooltip, row
from ..common.question_panel import QuestionPanel
from ..export.jobs import report_project_job
from ..export.project_export import ProjectExportDialog
from ..viewer.questions import Choice, Question, Questions
from ..viewer.viewer_state import ViewerState
from .class_menu import ClassMenu
from .image_list import ImageList
from .jobs import check_project_job, merge_project_job, pack_project_job, remove_duplicates_job

if TYPE_CHECKING:
    from ...session import Project
    from ...session.project.checking import ProjectCheck
    from ...session.project.content import ProjectImage
    from ...session.project.merging import MergeResult

NOTES_PX = 90


class ProjectForm(QWidget):
    """Shows the open project and changes it."""

    open_requested = Signal(object)
    """Emitted with the file (`Path`) of an image of the project that the user wants to open."""

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self._state = state
        self._project: Project | None = None
        """The project that is shown."""
        training = state.training
        self.name = QLineEdit()
        self.name.setToolTip("Name of the project; press Enter to rename it")
        self.name.setAccessibleName("Name of the project")
        self.name.editingFinished.connect(self._rename)
        self.close_button = button("Close", "Close the project; images stay open", training.close_project)
        self.text = label(wrap=True)
        self.classes_button = button("Classes", "Add, save or remove classes in all images of the project")
        self.class_menu = ClassMenu(state, self.classes_button)
        self.share_button = button("Share", "Pack the project, merge one from a colleague, or export it")
        menu = QMenu(self.share_button)
        menu.addAction("Pack as a zip file…", self._choose_zip)
        menu.addAction("Merge another copy of the project…", self._choose_other)
        menu.addAction("Export as a training dataset…", self.export)
        menu.addAction("Write a report…", self._choose_report)
        self.share_button.setMenu(menu)
        self.check_button = button("Check", "Find duplicate images, and locate missing ones", self.check)
        self.notes_button = button(
            "Notes", "Show the notes of the project", self._toggle_notes, checkable=True
        )
        self.notes = QPlainTextEdit()
        self.notes.setFixedHeight(NOTES_PX)
        self.notes.setPlaceholderText("Notes of this project; saved when you close them")
        self.notes.setAccessibleName("Notes of the project")
        self.notes.setTabChangesFocus(True)
        self.notes.hide()
        self.images = ImageList(training.membership)
        self.images.open_requested.connect(self._open)
        self.questions = Questions(self)
        self.question_panel = QuestionPanel()
        self.questions.changed.connect(lambda: self.question_panel.show_question(self.questions))
        column(
            row(self.name, self.close_button, stretch=0),
            self.text,
            self.images,
            self.question_panel,
            row(self.classes_button, self.share_button, self.check_button, self.notes_button),
            self.notes,
            parent=self,
        )

    def refresh(self) -> None:
        """Show the project."""
        project = self._state.training.project
        if project is not self._project:
            self._leave()
            self._project = project
        if project is None:
            return
        if not self.name.hasFocus():
            self.name.setText(project.name)
        self.name.setToolTip(plain_tooltip(f"{project.path}\nPress Enter to rename the project"))
        record = self._state.training.adaptation.record
        adapted = "" if record is None else f"\n{record.model}: {record.text}."
        self.text.setText(f"{_describe(project)}{adapted}")
        self.notes_button.setText("Notes …" if project.notes else "Notes")
        self.images.show_images(project, self._state.training.membership.image)

    def check(self, search: Path | None = None) -> None:
        """Check the project; `search` is a folder in which missing images are searched."""
        project = self._state.training.project
        if project is not None:
            search = search or (
                None if self._state.training.membership.file is None else self._folder_of_image()
            )
            job = check_project_job(project, search)
            self._state.training.membership.edit(
                job, "checking the project", partial(self._on_checked, project)
            )

    def pack(self, target: Path) -> None:
        """Pack the project as a zip file."""
        training = self._state.training
        if training.project is not None:
            job = pack_project_job(training.save_job(), training.project, target, self._state.sessions_dir)
            training.membership.edit(
                job,
                "packing the project",
                lambda path: training.message.emit(f"Packed the project as {path}."),
            )

    def export(self) -> None:
        """Open the window that exports the project."""
        dialog = ProjectExportDialog(self._state, self._state.training.membership.edit, self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.show()

    def report(self, target: Path) -> None:
        """Write the report of the project as an HTML file."""
        training = self._state.training
        if training.project is not None:
            sessions_dir = self._state.sessions_dir
            job = report_project_job(training.save_job(), training.project, target, sessions_dir)
            training.membership.edit(
                job, "writing the report", lambda path: training.message.emit(f"Wrote the report {path}.")
            )

    def merge(self, source: Path) -> None:
        """Merge another copy of the project."""
        training = self._state.training
        if training.project is not None:
            job = merge_project_job(training.project, source, self._state.sessions_dir)
            training.membership.edit(job, "merging the project", self._on_merged)

    def _folder_of_image(self) -> Path | None:
        file = self._state.training.membership.file
        return None if file is None else file.parent

    def _rename(self) -> None:
        training, name = self._state.training, self.name.text()
        if training.project is not None and name != training.project.name:
            project = training.project
            if training.attempt(lambda: project.rename(name)):
                training.project_changed.emit()
            else:
                self.name.setText(project.name)

    def _toggle_notes(self) -> None:
        shown = self.notes_button.isChecked()
        if self._project is None:
            return
        if shown:
            self.notes.setPlainText(self._project.notes)
        else:
            self._save_notes()
        self.notes.setVisible(shown)
        self.refresh()

    def _save_notes(self) -> None:
        project, text = self._project, self.notes.toPlainText()
        if project is not None and not self.notes.isHidden() and text != project.notes:
            self._state.training.attempt(lambda: project.set_notes(text))

    def _leave(self) -> None:
        """Save and close the notes of the project that was shown, and remove a question about it."""
        self._save_notes()
        self.notes.hide()
        self.notes_button.setChecked(False)
        self.questions.dismiss()

    def _choose_zip(self) -> None:
        project = self._state.training.project
        if project is None:
            return
        start = str(project.path.parent / f"{project.path.name}.zip")
        path, _ = QFileDialog.getSaveFileName(self, "Pack the project", start, "Zip files (*.zip)")
        if path:
            self.pack(Path(path))

    def _choose_report(self) -> None:
        project = self._state.training.project
        if project is None:
            return
        start = str(project.path.parent / f"{project.path.name}.html")
        path, _ = QFileDialog.getSaveFileName(self, "Report", start, "HTML files (*.html)")
        if path:
            self.report(Path(path) if Path(path).suffix else Path(f"{path}.html"))

    def _choose_other(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Project to merge", str(Path.home()), "Zip files (*.zip)")
        if path:
            self.merge(Path(path))

    def _open(self, image: ProjectImage) -> None:
        """Open an image of the project, or show it if it is open."""
        project = self._state.training.project
        path = None if project is None else project.file_of(image)
        if path is None:
            self._state.training.message.emit(
                f"The file of '{image.name}' is missing ({image.file}); press Check to search for it."
            )
            return
        if not show_layer_of(self._state.viewer, path):
            self.open_requested.emit(path)

    def _on_checked(self, project: Project, check: ProjectCheck) -> None:
        if project is not self._state.training.project:
            return
        choices = []
        if check.duplicates:
            hint = "Keep one training sample of each image; the others go to the folder 'history'"
            choices.append(Choice("Remove duplicates", hint, partial(self._remove_duplicates, check)))
        if check.missing:
            hint = "Choose a folder in which the missing images are searched, with its subfolders"
            choices.append(Choice("Search a folder…", hint, self._choose_search))
        if choices:
            self.questions.ask(Question(describe_check(check), (*choices, Choice("Close", "Hide this"))))
        else:
            self._state.training.message.emit(describe_check(check))

    def _remove_duplicates(self, check: ProjectCheck) -> None:
        training = self._state.training
        if training.project is not None:
            training.membership.edit(
                remove_duplicates_job(training.project, check),
                "removing the duplicates",
                lambda count: training.message.emit(f"Removed {plural(count, 'duplicate sample')}."),
            )

    def _choose_search(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder with the missing images", str(Path.home()))
        if folder:
            self.check(Path(folder))

    def _on_merged(self, result: MergeResult) -> None:
        self._state.training.membership.join()
        self._state.training.message.emit(describe_merge(result))


def _describe(project: Project) -> str:
    images = list(project.images.values())
    used = [image for image in images if image.training]
    splits = [project.split_of(image) for image in used]
    kinds = (
        ("train", "to train"),
        ("val", "to validate"),
        ("test", "to test"),
        ("", "without verified labels"),
    )
    parts = [f"{splits.count(split)} {text}" for split, text in kinds if split in splits]
    inside = f" ({', '.join(parts)})" if parts else ""
    names = ", ".join(info.name for info in project.classes) or "no classes yet"
    return f"{plural(len(images), 'image')}, {len(used)} in the training set{inside}. Classes: {names}."


def describe_check(check: ProjectCheck) -> str:
    """Describe the result of a check in one to three sentences."""
    parts = []
    if check.found:
        parts.append(f"Found again: {', '.join(check.found)}.")
    for sample, name in check.duplicates[:2]:
        parts.append(f"The training sample '{sample}' has the same pixels as '{name}'.")
    if check.missing:
        others = len(check.missing) - 1
        also = f" and those of {plural(others, 'more image')} are" if others else " is"
        parts.append(f"The file of '{check.missing[0]}'{also} missing; search for it in a folder.")
    if check.changed:
        parts.append(f"The files of {', '.join(map(repr, check.changed[:3]))} have changed pixels.")
    for name, reason in list(check.unreadable.items())[:2]:
        parts.append(f"'{name}' cannot be read: {reason}")
    return " ".join(parts) or "The project is complete: no duplicates, no missing or changed images."


def describe_merge(result: MergeResult) -> str:
    """Describe the result of a merge."""
    text = f"{len(result.added)} added, {len(result.updated)} updated, {len(result.unchanged)} unchanged."
    for conflict in result.conflicts[:3]:
        text += (
            f" Conflict in '{conflict.name}': ours has {conflict.ours}, the other has {conflict.theirs}; ours is "
            "kept. Open the image and press Compare to see the other version."
        )
    if len(result.conflicts) > 3:
        text += f" {len(result.conflicts) - 3} more conflicts are in the folder 'conflicts'."
    for name, reason in list(result.failed.items())[:2]:
        text += f" '{name}' was not merged: {reason}"
    return text
