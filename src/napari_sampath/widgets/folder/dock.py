"""The Folder dock: work through a folder of images in one of the three stages of SAM's data engine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QLayout, QMenu, QProgressBar, QWidget

from ...arrays import UInt8Array
from ...session import Stage
from ..background.workers import JobRunner
from ..common.base_dock import Dock
from ..common.controls import (
    button,
    button_grid,
    check_box,
    combo_box,
    elided_label,
    label,
    plain_tooltip,
    row,
    select,
    set_items,
)
from ..common.status_line import StatusLine
from ..viewer.viewer_state import ViewerState
from .folder_controller import FolderController
from .jobs import thumbnails_job
from .thumbnails import Thumbnails

STAGES: dict[Stage, tuple[str, str]] = {
    "assisted": ("by hand", "You annotate with prompts and brush; the head adds nothing"),
    "semi-automatic": (
        "head proposes, I correct",
        "The head in use adds objects to each image that you open; you correct and complete them",
    ),
    "automatic": (
        "head does all, I review",
        "The head segments all images at once; 'Next' opens the most uncertain one",
    ),
}
"""Stage -> text and tooltip."""
RUN_HINT = "Segment all images that are not done; you can continue working"
VERIFY_VIEW_HINT = "Verify the objects in view and mark the rest of the view as background"
VERIFY_WHOLE_HINT = (
    "When an image is done, pixels without an object become background, which heads are trained on"
)
THUMBNAILS_MS = 1000
"""Interval in milliseconds at which new thumbnails are shown."""


class FolderDock(Dock):
    """Opens the images of a folder one after another and shows which of them are done."""

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__(napari_viewer, state)
        self.controller = FolderController(self.state, self)
        controller = self.controller
        self.thumbnail_runner = JobRunner(self)
        self.pixels: dict[str, UInt8Array] = {}
        """File name -> loaded thumbnail (h, w, 3) uint8."""
        self.folder = elided_label("none yet")
        self.folder_button = button("Choose…", "Choose a folder of images", self._choose_folder)
        self.progress = label()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress")
        self.bar.setMaximumHeight(10)
        self.thumbnails = Thumbnails()
        self.previous_button = button("◀ Previous", "Open the previous image", partial(controller.step, -1))
        self.next_button = button("Next ▶", "Open the next image", partial(controller.step, 1))
        self.done_button = button("Done, next", "Mark as done and open the next image", self._on_done)
        self.unsure_button = button("Unsure, next", "Mark as unsure and open the next image", self._on_unsure)
        self.verify_whole = check_box("Done verifies the whole image", VERIFY_WHOLE_HINT, True)
        self.view_button = button("Verify the view", VERIFY_VIEW_HINT, controller.verify_view)
        self.stage = combo_box("Whether you or the head annotates first")
        set_items(self.stage, [(text, stage, tooltip) for stage, (text, tooltip) in STAGES.items()])
        self.all_button = button("Run the head on all images", RUN_HINT, controller.run_on_all)
        self.status = StatusLine(
            controller.runner, "Choose a folder of images; the state of each image is saved."
        )
        self._timer = QTimer(self)
        self._timer.setInterval(THUMBNAILS_MS)
        self._timer.timeout.connect(self.refresh)
        self.cancel_on_close(
            self.thumbnail_runner,
            controller.runner,
            controller.opener,
            controller.prefetcher,
            controller.apply_queue.runner,
        )
        self._arrange()
        self._connect()
        self.refresh()

    def refresh(self) -> None:
        """Show the current state."""
        controller, queue = self.controller, self.controller.queue
        for widget in (self.done_button, self.unsure_button, self.view_button):
            widget.setEnabled(controller.session is not None)
        can_run = queue is not None and not controller.runner.busy and controller.head is not None
        self.all_button.setEnabled(can_run)
        for widget in (self.next_button, self.previous_button):
            widget.setEnabled(queue is not None)
        if queue is None:
            return
        select(self.stage, controller.stage)
        counts, total = queue.progress, len(queue)
        self.folder.setText(queue.folder.name)
        self.folder.setToolTip(plain_tooltip(str(queue.folder)))
        self.progress.setText(
            f"{counts['done']} of {total} done, {counts['in progress']} in progress, {counts['unsure']} unsure"
        )
        self.bar.setRange(0, max(1, total))  # An empty range would be animated.
        self.bar.setValue(counts["done"])
        self.thumbnails.show_entries(queue.entries, queue.current.path.name, self.pixels, self._members())

    def _arrange(self) -> None:
        self.fill(*self.controls(), self.status)

    def controls(self) -> tuple[QWidget | QLayout, ...]:
        """Return the controls in their order."""
        buttons = (self.previous_button, self.next_button, self.done_button, self.unsure_button)
        return (
            row(label("Folder"), self.folder, self.folder_button, stretch=1),
            self.progress,
            self.bar,
            self.thumbnails,
            button_grid(buttons, 2),
            self.verify_whole,
            self.view_button,
            row(label("Stage"), self.stage, stretch=1),
            self.all_button,
        )

    def _connect(self) -> None:
        controller = self.controller
        self.stage.activated.connect(self._on_stage)
        self.thumbnails.image_selected.connect(controller.open)
        self.thumbnails.menu_requested.connect(lambda name, place: self.project_menu(name).popup(place))
        controller.message.connect(self.status.say)
        controller.folder_opened.connect(self._load_thumbnails)
        self.thumbnail_runner.finished.connect(self._timer.stop)
        for signal in (
            controller.changed,
            controller.runner.started,
            controller.runner.finished,
            self.thumbnail_runner.finished,
            self.state.changed,
            self.state.training.changed,
            self.state.training.project_changed,
        ):
            signal.connect(self.refresh)
        for widget, name, steps in (
            (self.next_button, "next_image", 1),
            (self.previous_button, "previous_image", -1),
        ):
            key = self.bind_key(name, partial(controller.step, steps))
            widget.setToolTip(f"{widget.toolTip()} ({key})")

    def project_menu(self, name: str) -> QMenu:
        """Make the menu that adds an image of the folder to the open project or removes it."""
        menu, queue = QMenu(self), self.controller.queue
        membership = self.state.training.membership
        if queue is None or self.state.training.project is None:
            menu.addAction("No project is open").setEnabled(False)
            return menu
        path = next(entry.path for entry in queue.entries if entry.path.name == name)
        image = membership.files.get(path.resolve())
        if image is None:
            menu.addAction("Add to the project", partial(membership.put_in_file, path))
            return menu
        text = "Remove from the training set" if image.training else "Add to the training set"
        menu.addAction(text, partial(membership.change_file, path, not image.training))
        menu.addAction("Remove from the project", partial(membership.change_file, path, None))
        return menu

    def _members(self) -> dict[str, bool]:
        """Return file name -> whether it is in the training set, of images in the open project."""
        queue, files = self.controller.queue, self.state.training.membership.files
        if queue is None or not files:
            return {}
        images = ((entry.path.name, files.get(entry.path.resolve())) for entry in queue.entries)
        return {name: image.training for name, image in images if image is not None}

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of images", str(Path.home()))
        if folder:
            self.controller.open_folder(Path(folder))

    def _load_thumbnails(self) -> None:
        if self.controller.queue is None:
            return
        self.pixels = {}
        paths = [entry.path for entry in self.controller.queue.entries]
        job = thumbnails_job(paths, self.pixels)
        self.thumbnail_runner.start(job, "loading the thumbnails", lambda _count: None)
        self._timer.start()

    def _on_done(self) -> None:
        self.controller.finish("done", self.verify_whole.isChecked())

    def _on_unsure(self) -> None:
        self.controller.finish("unsure", False)

    def _on_stage(self) -> None:
        self.controller.stage = self.stage.currentData()
