"""The Auto-segment dock: one click runs a trained head over the image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QHBoxLayout, QLabel, QSizePolicy

from . import layers as shown
from .dock import Dock
from .progress import StatusLine
from .tasks import segment_job
from .workers import JobRunner

if TYPE_CHECKING:
    from .tasks import Segmented
    from .workbench import Workbench

CLASSES, CONFIDENCE = "Segmentation", "Confidence"
"""Names of the layers added."""


class SegmentDock(Dock):
    """Choose a head, run it, look at its classes and confidence, and take them over as annotations.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        bench: The workbench to use; that of the viewer if left out.
    """

    def __init__(self, napari_viewer: Any, bench: Workbench | None = None) -> None:
        super().__init__(napari_viewer, bench)
        self.runner = JobRunner(self)
        self.image = QLabel()
        self.head = QComboBox()
        self.head.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.head.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.file_button = self.button("File…", "Use a head (bundle) from a file")
        self.run_button = self.button("Segment the image", "Run the head over the whole image")
        self.add_button = self.button(
            "Add as annotations", "Make every connected region an annotation that you can correct"
        )
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.status = StatusLine(self.runner, "One click finds the tissue classes the head was trained for.")
        self.result: Segmented | None = None
        self._files: list[Path] = []
        self._source = ""
        head_row = QHBoxLayout()
        head_row.addWidget(self.head, 1)
        head_row.addWidget(self.file_button)
        form = QFormLayout()
        form.addRow("Image", self.image)
        form.addRow("Head", head_row)
        self.column.addLayout(form)
        for widget in (self.run_button, self.summary, self.add_button, self.status):
            self.column.addWidget(widget)
        self.column.addStretch(1)
        self.file_button.clicked.connect(self._on_file)
        self.run_button.clicked.connect(self._on_run)
        self.add_button.clicked.connect(self._on_add)
        self.bench.changed.connect(self.refresh)
        self.runner.started.connect(self.refresh)
        self.runner.finished.connect(self.refresh)
        self.bench.start()
        self.refresh()

    def refresh(self) -> None:
        """Show how things stand."""
        bench = self.bench
        self.image.setText("Open an image first" if bench.image is None else bench.image.name)
        wanted = self.head.currentData()
        names = () if bench.catalogue is None else bench.catalogue.heads
        entries = [*((name, name) for name in names), *((path.name, str(path)) for path in self._files)]
        with QSignalBlocker(self.head):
            self.head.clear()
            for text, data in entries:
                self.head.addItem(text, data)
            self.head.setCurrentIndex(max(0, self.head.findData(wanted)))
        self.run_button.setEnabled(bench.session is not None and bool(entries) and not self.runner.busy)
        fits = bench.image is not None and bench.image.name == self._source
        self.add_button.setEnabled(self.result is not None and fits and bench.session is not None)

    def _on_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "A trained head", "", "Heads (*.safetensors);;All files (*)"
        )
        if path:
            self._files.append(Path(path))
            self.refresh()
            self.head.setCurrentIndex(self.head.count() - 1)

    def _on_run(self) -> None:
        session, image = self.bench.session, self.bench.image
        head = self.head.currentData()
        if session is None or image is None or head is None:
            return
        self._source = image.name
        job = segment_job(session.image, head, self.bench.model)
        self.runner.start(job, f"segmenting with {self.head.currentText()}", self._on_done)

    def _on_done(self, result: Segmented) -> None:
        image = self.bench.image
        if image is None or image.name != self._source:
            return
        self.result = result
        viewer = self.bench.viewer
        old = [layer for layer in viewer.layers if layer.metadata.get(shown.MARK_HEAD) == image.name]
        shown.remove(viewer, old)
        common = {**shown.placement(image), "metadata": {shown.MARK_HEAD: image.name}}
        segmentation = result.segmentation
        labels = viewer.add_labels(segmentation.labels, name=CLASSES, opacity=0.45, **common)
        labels.colormap = shown.class_colormap([one for one in segmentation.classes if one.id > 0])
        labels.editable = False
        viewer.add_image(
            segmentation.confidence,
            name=CONFIDENCE,
            colormap="viridis",
            contrast_limits=(0.0, 1.0),
            opacity=0.6,
            visible=False,
            **common,
        )
        viewer.layers.selection.active = image
        self.summary.setText(result.summary)
        self.status.say(f"Done. Switch the layer '{CONFIDENCE}' on to see where the head is unsure.")
        self.refresh()

    def _on_add(self) -> None:
        annotator = self.bench.annotator
        result = self.result
        if annotator is None or result is None:
            return
        before = len(annotator.session.document.annotations)
        if annotator.attempt(lambda: annotator.session.add_segmentation(result.components)):
            added = len(annotator.session.document.annotations) - before
            self.status.say(f"Added {added} annotations; undo takes them back in one step.")
            for layer in self.bench.viewer.layers:
                if layer.metadata.get(shown.MARK_HEAD) == self._source:
                    layer.visible = False
