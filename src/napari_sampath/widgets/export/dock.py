"""The Export dock: annotations out of napari, and those of other programs in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QFileDialog, QFormLayout, QHBoxLayout, QLabel, QLineEdit

from ..background.workers import JobRunner
from ..common.apply_queue import Intake, Result
from ..common.base_dock import Dock, group
from ..common.status_line import StatusLine
from ..viewer.jobs import import_job
from .format_boxes import FORMATS, FormatBoxes

if TYPE_CHECKING:
    from ...annotations import AnnotatedObject
    from ...session import NewObjects
    from ..viewer.viewer_state import ViewerState

__all__ = ["FORMATS", "ExportDock"]

READABLE = "Annotations (*.png *.tif *.tiff *.json *.geojson);;All files (*)"


class ExportDock(Dock):
    """Writes the annotations in the formats chosen, and reads such files, and those of other programs, in.

    A file appears under its name only when it is complete; one that was there before is replaced, never
    damaged.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        state: Shared state; that of the viewer by default.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__(napari_viewer, state)
        self.runner = JobRunner(self)
        self.intake = Intake(self.state, self)
        self.image = QLabel()
        self.folder = QLineEdit(str(Path.home()))
        self.folder.setToolTip("Folder the files are written to; it is made if it is not there")
        self.browse_button = self.button("…", "Choose the folder")
        self.browse_button.setMaximumWidth(32)
        self.boxes = FormatBoxes()
        self.formats: dict[str, QCheckBox] = self.boxes.boxes
        self.export_button = self.button("Export", "Write classes, objects and the class list")
        self.import_button = self.button(
            "Import a file…", "Read PNG, TIFF, COCO or GeoJSON of this image in as annotations"
        )
        self.folder_button = self.button(
            "Import a folder…", "Read a folder in that was exported before, or an OME-Zarr"
        )
        self.status = StatusLine(self.runner, "Writes what is committed, for this image.")
        folder_row = QHBoxLayout()
        folder_row.addWidget(self.folder, 1)
        folder_row.addWidget(self.browse_button)
        form = QFormLayout()
        form.addRow("Image", self.image)
        form.addRow("Folder", folder_row)
        self.column.addLayout(form)
        self.column.addWidget(group("Formats", self.boxes))
        self.column.addWidget(self.export_button)
        imports = QHBoxLayout()
        imports.addWidget(self.import_button)
        imports.addWidget(self.folder_button)
        self.column.addLayout(imports)
        self.column.addWidget(self.status)
        self.column.addStretch(1)
        self.image.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.browse_button.clicked.connect(self._on_browse)
        self.export_button.clicked.connect(self._on_export)
        self.import_button.clicked.connect(self._on_import)
        self.folder_button.clicked.connect(self._on_import_folder)
        self.state.changed.connect(self.refresh)
        self.intake.message.connect(self.status.say)
        self.intake.changed.connect(self.refresh)
        self.hold(self.runner, self.intake.runner)
        self.state.start()
        self.refresh()

    def refresh(self) -> None:
        """Show how things stand."""
        session = self.state.session
        self.image.setText("Open an image first" if session is None else session.name)
        for button in (self.export_button, self.import_button, self.folder_button):
            button.setEnabled(session is not None and not self.intake.busy)

    def import_from(self, path: str | Path) -> None:
        """Read annotations from a file or folder into the session; undo takes them back."""
        session, name = self.state.session, Path(path).name
        if session is None:
            return

        def take(found: NewObjects) -> None:
            self.intake.add(Result(session, session.files.import_change(found), then))

        def then(made: list[AnnotatedObject]) -> None:
            self.status.say(
                f"Imported {len(made)} annotations from {name}; undo takes them back in one step."
            )

        job = import_job(Path(path), session.name, session.hw)
        self.runner.start(job, f"reading {name}", take)

    def _on_browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the files", self.folder.text())
        if folder:
            self.folder.setText(folder)

    def _on_export(self) -> None:
        session = self.state.session
        chosen = self.boxes.value()
        if session is None:
            return
        if not chosen:
            self.status.say("No format is chosen; tick at least one.")
            return
        folder = Path(self.folder.text().strip()).expanduser()
        if not folder.is_absolute():  # else it would be in whatever folder napari was started from
            self.status.say(
                f"'{self.folder.text()}' is no whole path of a folder; choose one with the button beside it."
            )
            return
        self.runner.start(
            session.files.export_job(folder, chosen), "writing the annotations", self._on_exported
        )

    def _on_exported(self, paths: list[Path]) -> None:
        names = ", ".join(path.name for path in paths)
        self.status.say(f"Wrote {names} to {paths[0].parent}.")

    def _on_import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Annotations", self.folder.text(), READABLE)
        if path:
            self.import_from(path)

    def _on_import_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Exported folder, or OME-Zarr", self.folder.text())
        if path:
            self.import_from(path)
