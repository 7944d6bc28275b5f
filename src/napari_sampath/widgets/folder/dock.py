"""The Folder dock: a folder of images as a queue, worked through in one of the three stages of SAM's data engine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QSizePolicy,
)

from ..background.workers import JobRunner
from ..common.base_dock import Dock
from ..common.status_line import StatusLine
from .folder_controller import FolderWork
from .jobs import thumbnails_job
from .thumbnails import Thumbnails

if TYPE_CHECKING:
    from ...arrays import UInt8Array
    from ...session import Stage
    from ..viewer.viewer_state import ViewerState

STAGES: dict[Stage, tuple[str, str]] = {
    "assisted": ("by hand", "You annotate by clicks and brush; nothing is proposed"),
    "semi-automatic": (
        "the head proposes",
        "The head in use proposes on each image that you open; you correct and complete it",
    ),
    "automatic": (
        "the head does all, I review",
        "The head goes through all images at once; 'Next' opens the one it doubts most",
    ),
}
"""Stage -> what it is called in the dock, and what happens in it."""
PICTURES_MS = 1000
"""Thumbnails are shown once a second at most while they are made."""


class FolderDock(Dock):
    """Opens the images of a folder one after the other and keeps account of what is done.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        state: Shared state; that of the viewer by default.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__(napari_viewer, state)
        self.work = FolderWork(self.state, self)
        self.looker = JobRunner(self)
        """Makes the thumbnails."""
        self.pictures: dict[str, UInt8Array] = {}
        self.folder = QLabel("none yet")
        self.folder.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.folder_button = self.button("Choose…", "A folder of images to work through")
        self.progress = QLabel()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(10)
        self.thumbnails = Thumbnails()
        self.previous_button = self.button("◀ Previous", "Open the image before")
        self.next_button = self.button("Next ▶", "Open the next image")
        self.done_button = self.button("Done, next", "This image is finished; open the next one")
        self.unsure_button = self.button(
            "Unsure, next", "Put this image aside to discuss it; open the next one"
        )
        self.whole = QCheckBox("Done means: all of it is annotated")
        self.whole.setToolTip(
            "When an image is done, what has no annotation counts as none of the classes, and heads learn from it"
        )
        self.whole.setChecked(True)
        self.whole.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.view_button = self.button(
            "What is in view is complete",
            "Agree with the annotations in view, and say that nothing else of the classes is there",
        )
        self.stage = QComboBox()
        self.stage.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.stage.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.stage.setToolTip("Who annotates first: you or the head")
        for row, (name, (text, hint)) in enumerate(STAGES.items()):
            self.stage.addItem(text, name)
            self.stage.setItemData(row, hint, Qt.ItemDataRole.ToolTipRole)
        self.all_button = self.button(
            "Run the head on all images", "All images that are not done; you can go on working meanwhile"
        )
        self.status = StatusLine(
            self.work.runner, "Choose a folder of images; what you do to each is remembered."
        )
        self._pictures_timer = QTimer(self)
        self._pictures_timer.setInterval(PICTURES_MS)
        self.hold(self.looker, self.work.runner, self.work.opener, self.work.ahead, self.work.intake.runner)
        self._arrange()
        self._connect()
        self.refresh()

    def refresh(self) -> None:
        """Show how things stand."""
        work, queue = self.work, self.work.queue
        for button in (self.done_button, self.unsure_button, self.view_button):
            button.setEnabled(work.session is not None)
        self.all_button.setEnabled(queue is not None and not work.runner.busy and work.head is not None)
        for button in (self.next_button, self.previous_button):
            button.setEnabled(queue is not None)
        if queue is None:
            return
        with QSignalBlocker(self.stage):
            self.stage.setCurrentIndex(self.stage.findData(work.stage))
        counts, total = queue.progress, len(queue)
        self.folder.setText(queue.folder.name)
        self.folder.setToolTip(str(queue.folder))
        self.progress.setText(
            f"{counts['done']} of {total} done, {counts['in progress']} begun, {counts['unsure']} unsure"
        )
        self.bar.setRange(0, total)
        self.bar.setValue(counts["done"])
        self.thumbnails.show_entries(queue.entries, queue.current.path.name, self.pictures)

    def _arrange(self) -> None:
        row = QHBoxLayout()
        row.addWidget(QLabel("Folder"))
        row.addWidget(self.folder, 1)
        row.addWidget(self.folder_button)
        self.column.addLayout(row)
        for widget in (self.progress, self.bar, self.thumbnails):
            self.column.addWidget(widget)
        grid = QGridLayout()
        grid.setSpacing(4)
        grid.addWidget(self.previous_button, 0, 0)
        grid.addWidget(self.next_button, 0, 1)
        grid.addWidget(self.done_button, 1, 0)
        grid.addWidget(self.unsure_button, 1, 1)
        self.column.addLayout(grid)
        self.column.addWidget(self.whole)
        self.column.addWidget(self.view_button)
        stage = QHBoxLayout()
        stage.addWidget(QLabel("Who begins"))
        stage.addWidget(self.stage, 1)
        self.column.addLayout(stage)
        self.column.addWidget(self.all_button)
        self.column.addWidget(self.status)
        self.column.addStretch(1)

    def _connect(self) -> None:
        self.folder_button.clicked.connect(self._on_folder)
        work = self.work
        self.next_button.clicked.connect(lambda: work.step(1))
        self.previous_button.clicked.connect(lambda: work.step(-1))
        self.done_button.clicked.connect(lambda: work.finish("done", self.whole.isChecked()))
        self.unsure_button.clicked.connect(lambda: work.finish("unsure", False))
        self.view_button.clicked.connect(work.complete_view)
        self.all_button.clicked.connect(work.run_on_all)
        self.stage.activated.connect(self._on_stage)
        self.thumbnails.chosen.connect(work.open)
        self._pictures_timer.timeout.connect(self.refresh)
        work.message.connect(self.status.say)
        work.opened.connect(self._on_opened)
        self.looker.finished.connect(self._pictures_timer.stop)
        for signal in (
            work.changed,
            work.runner.started,
            work.runner.finished,
            self.looker.finished,
            self.state.changed,
            self.state.training.changed,
        ):
            signal.connect(self.refresh)
        for button, name, steps in (
            (self.next_button, "next_image", 1),
            (self.previous_button, "previous_image", -1),
        ):
            key = self.hold_key(name, partial(work.step, steps))
            button.setToolTip(f"{button.toolTip()} ({key})")

    def _on_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of images", str(Path.home()))
        if folder:
            self.work.open_folder(Path(folder))

    def _on_opened(self) -> None:
        """Make the thumbnails of another folder."""
        if self.work.queue is None:
            return
        self.pictures = {}
        paths = [entry.path for entry in self.work.queue.entries]
        job = thumbnails_job(paths, self.pictures)
        self.looker.start(job, "looking through the folder", lambda _count: None)
        self._pictures_timer.start()

    def _on_stage(self) -> None:
        self.work.stage = self.stage.currentData()
