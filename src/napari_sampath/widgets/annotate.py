"""The Annotate dock."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from .choices import ChoicesForm
from .class_list import ClassListWidget
from .dock import Dock
from .keys import KEYS
from .modes import ModeButtons
from .progress import StatusLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from .annotator import Annotator
    from .mouse import Mode
    from .workbench import Workbench

WELCOME = (
    "Open an image: it is picked up by itself and prepared in the background; you can look around meanwhile."
)


class AnnotateDock(Dock):
    """Everything for annotating by prompts and brush: image, model, classes, mouse, candidates, undo.

    The dock is thin: it shows what the workbench of its viewer says and passes on what the user wishes.
    Nothing has to be saved: every commit is in the journal on disk before it is painted.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        bench: The workbench to use; that of the viewer if left out.
    """

    def __init__(self, napari_viewer: Any, bench: Workbench | None = None) -> None:
        super().__init__(napari_viewer, bench)
        self.choices = ChoicesForm()
        self.classes = ClassListWidget()
        self.modes = ModeButtons()
        self.candidate = QLabel()
        self.next_button = self.button("Next", "Show the next candidate: whole, part, smaller part (M)")
        self.commit_button = self.button("Commit", "Add the candidate to the chosen class (Enter)")
        self.clear_button = self.button("Clear", "Drop the prompt (Esc)")
        self.undo_button = self.button("Undo", "Ctrl-Z")
        self.redo_button = self.button("Redo", "Ctrl-Shift-Z")
        self.status = StatusLine(self.bench.runner, WELCOME)
        self._arrange()
        self._connect()
        self.bench.start()
        self.refresh()

    def refresh(self) -> None:
        """Show how things stand."""
        bench, annotator = self.bench, self.bench.annotator
        self.choices.show_images(bench.images(), bench.image)
        self.choices.show_catalogue(bench.catalogue, bench.choice)
        for widget in (self.classes, self.modes, *self._buttons()):
            widget.setEnabled(annotator is not None)
        self.candidate.setText(_describe_candidate(annotator))
        if annotator is None:
            return
        session = annotator.session
        if not self.classes.is_shown(tuple(session.classes), session.active_class):
            self.classes.show_classes(tuple(session.classes), session.active_class)
        self.modes.show_mode(annotator.mode)
        self.modes.show_preview(annotator.preview.on)
        self.commit_button.setEnabled(session.candidate is not None)
        self.next_button.setEnabled(len(session.candidates) > 1)

    def _buttons(self) -> tuple[QPushButton, ...]:
        return self.next_button, self.commit_button, self.clear_button, self.undo_button, self.redo_button

    def _arrange(self) -> None:
        self.column.addWidget(self.choices)
        self.column.addWidget(_group("Classes", self.classes))
        self.column.addWidget(_group("Mouse", self.modes))
        candidate = QHBoxLayout()
        candidate.addWidget(self.candidate, 1)
        candidate.addWidget(self.next_button)
        self.column.addLayout(candidate)
        row = QHBoxLayout()
        row.setSpacing(4)
        for button in self._buttons()[1:]:
            row.addWidget(button)
        self.column.addLayout(row)
        self.column.addWidget(self.status)
        self.column.addWidget(_group("Keys, with the mouse over the image", _keys_help()))
        self.column.addStretch(1)

    def _connect(self) -> None:
        bench = self.bench
        bench.changed.connect(self.refresh)
        bench.said.connect(self.status.say)
        self.choices.image_chosen.connect(bench.choose_image)
        self.choices.model_chosen.connect(bench.choose_model)
        self.classes.activated.connect(self._on_class)
        self.classes.added.connect(self._on_add_class)
        self.classes.renamed.connect(lambda one, name: self._edit(lambda classes: classes.rename(one, name)))
        self.classes.recolored.connect(lambda one, rgb: self._edit(lambda classes: classes.recolor(one, rgb)))
        self.classes.removed.connect(lambda one: self._edit(lambda classes: classes.remove(one)))
        self.modes.chosen.connect(self._on_mode)
        self.modes.scribble_width_chosen.connect(self._on_scribble_width)
        self.modes.preview_chosen.connect(self._on_preview)
        for button, name in zip(
            self._buttons(), ("next_candidate", "commit", "clear", "undo", "redo"), strict=True
        ):
            button.clicked.connect(partial(self._tell, name))

    def _tell(self, name: str, _checked: bool = False) -> None:
        if self.bench.annotator is not None:
            getattr(self.bench.annotator, name)()

    def _edit(self, change: Callable[[Any], object]) -> None:
        annotator = self.bench.annotator
        if annotator is not None:
            annotator.attempt(lambda: change(annotator.session.classes))
            self.refresh()

    def _on_class(self, class_id: int) -> None:
        if self.bench.annotator is not None:
            self.bench.annotator.activate(class_id)

    def _on_add_class(self) -> None:
        annotator = self.bench.annotator
        if annotator is None:
            return
        classes = annotator.session.classes
        number = len(classes) + 1
        while classes.find(f"Class {number}") is not None:
            number += 1
        self._edit(lambda classes: classes.add(f"Class {number}"))
        added = classes.find(f"Class {number}")
        if added is not None:
            self._on_class(added.id)
            self.classes.edit(added.id)

    def _on_mode(self, mode: Mode) -> None:
        if self.bench.annotator is not None:
            self.bench.annotator.mode = mode

    def _on_preview(self, on: bool) -> None:
        if self.bench.annotator is not None:
            self.bench.annotator.preview.on = on

    def _on_scribble_width(self, width_px: int) -> None:
        if self.bench.annotator is not None:
            self.bench.annotator.brush_px = width_px


def _describe_candidate(annotator: Annotator | None) -> str:
    """Say which candidate is shown and how sure the model is."""
    candidate = None if annotator is None else annotator.session.candidate
    if annotator is None or candidate is None:
        return "No candidate yet"
    if candidate.members:
        return f"{len(candidate.members)} objects, lowest predicted IoU {candidate.score:.2f}"
    candidates = list(annotator.session.candidates)
    place = candidates.index(candidate) + 1
    return f"Candidate {place} of {len(candidates)}, predicted IoU {candidate.score:.2f}"


def _keys_help() -> QWidget:
    """List the keys in two columns."""
    table = QWidget()
    grid = QGridLayout(table)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setVerticalSpacing(1)
    shown = [*((key.shown, key.text) for key in KEYS if key.shown), ("Space", "move image")]
    for number, (key, text) in enumerate(shown):
        grid.addWidget(QLabel(f"<b>{key}</b>&nbsp; {text}"), number // 2, number % 2)
    return table


def _group(title: str, widget: QWidget) -> QGroupBox:
    group = QGroupBox(title)
    column = QVBoxLayout(group)
    column.setContentsMargins(6, 6, 6, 6)
    column.addWidget(widget)
    group.setAlignment(Qt.AlignmentFlag.AlignLeft)
    return group
