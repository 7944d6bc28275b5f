"""The Export dock: label layers out of napari and back in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QFileDialog, QFormLayout, QHBoxLayout, QLabel, QLineEdit

from .dock import Dock
from .progress import StatusLine
from .workers import JobRunner

if TYPE_CHECKING:
    from .workbench import Workbench

FORMATS = {"png": "PNG (indexed, opens anywhere)", "tiff": "TIFF"}


class ExportDock(Dock):
    """Writes the class and instance label layers with their class list, and reads such files back in.

    A file appears under its name only when it is complete; one that was there before is replaced, never
    damaged.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        bench: The workbench to use; that of the viewer if left out.
    """

    def __init__(self, napari_viewer: Any, bench: Workbench | None = None) -> None:
        super().__init__(napari_viewer, bench)
        self.runner = JobRunner(self)
        self.image = QLabel()
        self.folder = QLineEdit(str(Path.home()))
        self.folder.setToolTip("Folder the files are written to; it is made if it is not there")
        self.browse_button = self.button("…", "Choose the folder")
        self.browse_button.setMaximumWidth(32)
        self.formats = {name: QCheckBox(text) for name, text in FORMATS.items()}
        self.export_button = self.button("Export", "Write classes, objects and the class list")
        self.import_button = self.button("Import back…", "Read an exported file in as annotations")
        self.status = StatusLine(self.runner, "Writes what is committed, for this image.")
        folder_row = QHBoxLayout()
        folder_row.addWidget(self.folder, 1)
        folder_row.addWidget(self.browse_button)
        form = QFormLayout()
        form.addRow("Image", self.image)
        form.addRow("Folder", folder_row)
        self.column.addLayout(form)
        for box in self.formats.values():
            box.setChecked(True)
            box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            self.column.addWidget(box)
        for widget in (self.export_button, self.import_button, self.status):
            self.column.addWidget(widget)
        self.column.addStretch(1)
        self.browse_button.clicked.connect(self._on_browse)
        self.export_button.clicked.connect(self._on_export)
        self.import_button.clicked.connect(self._on_import)
        self.bench.changed.connect(self.refresh)
        self.bench.start()
        self.refresh()

    def refresh(self) -> None:
        """Show how things stand."""
        session = self.bench.session
        self.image.setText("Open an image first" if session is None else session.name)
        for button in (self.export_button, self.import_button):
            button.setEnabled(session is not None)

    def import_from(self, path: str | Path) -> None:
        """Read exported labels into the session; undo takes them back."""
        annotator = self.bench.annotator
        if annotator is not None and annotator.attempt(lambda: annotator.session.import_labels(path)):
            self.status.say(f"Imported {Path(path).name}; undo takes it back in one step.")

    def _on_browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the files", self.folder.text())
        if folder:
            self.folder.setText(folder)

    def _on_export(self) -> None:
        session = self.bench.session
        chosen = tuple(name for name, box in self.formats.items() if box.isChecked())
        if session is None:
            return
        if not chosen:
            self.status.say("No format is chosen; tick PNG, TIFF or both.")
            return
        folder = Path(self.folder.text()).expanduser()
        self.runner.start(session.export_job(folder, chosen), "writing the label files", self._on_exported)

    def _on_exported(self, paths: list[Path]) -> None:
        names = ", ".join(path.name for path in paths)
        self.status.say(f"Wrote {names} to {paths[0].parent}.")

    def _on_import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Exported labels", self.folder.text(), "Labels (*.png *.tif *.tiff);;All files (*)"
        )
        if path:
            self.import_from(path)
