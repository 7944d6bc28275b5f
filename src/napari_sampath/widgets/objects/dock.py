"""The Objects dock: a table of all objects, to find, review and correct them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtCore import QItemSelection, QItemSelectionModel, QModelIndex, QSignalBlocker, QTimer
from qtpy.QtWidgets import QWidget

from ...annotations import AnnotatedObject, FlagName
from ...arrays import ClassInfo
from ...files.messages import plural
from ..canvas.pixel_size import mpp_of
from ..canvas.viewport import camera
from ..common.base_dock import Dock
from ..common.controls import button, button_grid, column, group, label, row
from ..common.status_line import StatusLine
from ..viewer.annotator import Annotator
from ..viewer.viewer_state import ViewerState
from .cards import CardGrid
from .filters import ObjectFilter, ObjectFilterForm
from .table import AREA_UM2, HEADINGS, ObjectTable
from .table_view import ObjectTableView, qt_sequence
from .text_form import TextForm
from .verified_area import VerifiedAreaTools

ACTIONS = {
    "reviewed": ("Reviewed", "Mark the selected objects as reviewed, or remove the mark"),
    "unsure": ("Unsure", "Mark the selected objects as unsure, so that heads are not trained on them"),
    "reclassify": ("Change class", "Give the selected objects the class selected in the Annotate dock"),
    "merge": (
        "Merge",
        "Merge the selected objects, touching or not; the result has the class of the uppermost",
    ),
    "delete": ("Delete", "Delete the selected objects"),
    "undo": ("Undo", "Undo the last change"),
}
"""`Key.name` -> text and tooltip of the button."""
CARDS_HINT = (
    "Show pictures of the proposals instead of the table, the most uncertain first: A accepts, R rejects, U marks as "
    "unsure, 1 to 9 changes the class"
)
MIN_SELECTED = {"undo": 0, "merge": 2}
"""Name in `ACTIONS` -> minimum number of selected objects; 1 for the others."""


class ObjectsDock(Dock):
    """Table of the objects of the current image, to sort, filter, find and correct them."""

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__(napari_viewer, state)
        self.model = ObjectTable(self)
        self.table = ObjectTableView(self.model)
        self.filters = ObjectFilterForm()
        self.count = label()
        self.cards = CardGrid()
        self.cards.hide()
        self.cards_button = button("Cards", CARDS_HINT, self._on_cards, checkable=True)
        self.buttons = {
            name: button(text, tooltip, partial(self.run, name)) for name, (text, tooltip) in ACTIONS.items()
        }
        self.area = VerifiedAreaTools(self.state)
        self.status = StatusLine(self.state.runner, "Click an object in the table to see it on the image.")
        self.text_form = TextForm(self.state, self.status.say)
        self.cancel_on_close(self.text_form.runner, self.text_form.apply_queue.runner)
        self._shown: Annotator | None = None
        self._classes: tuple[ClassInfo, ...] = ()
        self._kept_selection: tuple[int, ...] = ()
        self._highlighted = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._update_rows)
        grid = button_grid(self.buttons.values(), 3)
        area = group("Verified area: all objects in it are annotated", self.area)
        views = QWidget()
        column(self.table, self.cards, parent=views)
        counts = row(self.count, self.cards_button, stretch=0)
        self.fill(self.filters, views, counts, grid, self.text_form, area, self.status, growing=views)
        self._connect()
        self.state.start()
        self.refresh()

    def selected(self) -> tuple[int, ...]:
        """Return the ids of the selected objects, from top to bottom."""
        rows = sorted(index.row() for index in self.table.selectionModel().selectedRows())
        return tuple(self.model.rows[row].id for row in rows)

    def select(self, ids: tuple[int, ...]) -> None:
        """Select objects without moving the camera; ids that the table does not show are ignored."""
        selection, model = self.table.selectionModel(), self.model
        cells = QItemSelection()
        for index in map(model.row_of, ids):
            if index is not None:
                cells.select(model.index(index, 0), model.index(index, len(HEADINGS) - 1))
        with QSignalBlocker(selection):
            selection.select(cells, QItemSelectionModel.SelectionFlag.ClearAndSelect)
            if cells.indexes():
                selection.setCurrentIndex(cells.indexes()[0], QItemSelectionModel.SelectionFlag.NoUpdate)
        self._highlight()
        self.table.viewport().update()

    def refresh(self) -> None:
        """Show the objects of the current image."""
        annotator = self.state.annotator
        if annotator is not self._shown:
            self._follow(annotator)
        if annotator is not None:
            self.model.mpp = mpp_of(annotator.image) or annotator.session.files.mpp
            self.table.setColumnHidden(AREA_UM2, self.model.mpp is None)
        self._show_classes()
        self._show_count()
        self.text_form.refresh()

    def _follow(self, annotator: Annotator | None) -> None:
        self._shown = annotator
        self.table.keys = self.cards.keys = {}
        self._classes = ()
        self.cards.use(None)
        if annotator is None:
            self.model.use(None)
            return
        annotator.tools.objects_changed.connect(self._on_objects)
        self._bind_table_keys(annotator)
        self._show_cards()

    def _bind_table_keys(self, annotator: Annotator) -> None:
        """Make the keys of the canvas act on the selected objects while the table has keyboard focus."""
        for key in annotator.key_choice.keys:
            sequence = qt_sequence(key.key)
            if key.method == "choose_class":
                self.table.keys[sequence] = partial(annotator.choose_class, *key.arguments)
            elif key.name in (*self.buttons, "redo"):
                self.table.keys[sequence] = partial(self.run, key.name)
                if key.name in ("undo", "redo"):
                    self.cards.keys = {**self.cards.keys, sequence: partial(self.run, key.name)}
        for name, widget in self.buttons.items():
            shortcut = annotator.key_choice.shown(name)
            widget.setToolTip(f"{ACTIONS[name][1]} ({shortcut} while the table has keyboard focus)")

    def run(self, name: str) -> None:
        """Apply an action (a name in `ACTIONS`, or "redo") to the selected objects, as one undo step."""
        annotator, ids = self.state.annotator, self.selected()
        if annotator is None:
            return
        if name in ("undo", "redo"):
            getattr(annotator, name)()
            return
        if not ids:
            self.state.message.emit("Select at least one object in the table first.")
            return
        session = annotator.session
        match name:
            case "reviewed" | "unsure":
                flag: FlagName = "reviewed" if name == "reviewed" else "unsure"
                checked = all(getattr(session.document.record(object_id), flag) for object_id in ids)
                annotator.attempt(lambda: session.objects.flag(ids, flag, not checked))
            case "reclassify":
                annotator.attempt(lambda: session.objects.reclassify(ids, session.active_class))
            case "merge":
                annotator.attempt(
                    lambda: session.large_changes.edit(ids, lambda tools: tools.merge(ids), "the merge")
                )
            case "delete":
                annotator.attempt(
                    lambda: session.large_changes.edit(ids, lambda tools: tools.delete(ids), "the deletion")
                )

    def _connect(self) -> None:
        self.state.changed.connect(self.refresh)
        self.state.message.connect(self.status.say)
        self.status.expire_on(self.state.image_chosen, self.state.training.edited)
        self.filters.valueChanged.connect(self._apply_filter)
        self.table.clicked.connect(self._center)
        self.model.flag_requested.connect(self._on_flag)
        self.cards.decided.connect(self._on_decision)
        self.cards.class_chosen.connect(self._on_class)
        self.cards.place_requested.connect(self._on_place)
        self.cards.failed.connect(self.status.say)
        # Must not refer to the dock, which no longer exists when the signal is emitted.
        self.destroyed.connect(partial(_clear_highlight, self.state))
        self.model.modelAboutToBeReset.connect(self._keep_selection)
        self.model.modelReset.connect(self._restore_selection)
        self.table.selectionModel().selectionChanged.connect(self._on_selection)

    def _on_flag(self, object_id: int, flag: FlagName, checked: bool) -> None:
        annotator = self.state.annotator
        if annotator is not None:
            annotator.attempt(lambda: annotator.session.objects.flag((object_id,), flag, checked))

    def _on_cards(self) -> None:
        self._show_cards()
        if self.cards_button.isChecked():
            self.cards.setFocus()
            if not self.cards.count():
                self.status.say("There are no proposals to review; run Auto-segment or Find similar first.")

    def _show_cards(self) -> None:
        """Show the cards or the table, as the button selects."""
        cards = self.cards_button.isChecked()
        self.table.setVisible(not cards)
        self.cards.setVisible(cards)
        if cards:
            self.cards.use(self.state.session, self.filters.value().class_id)

    def _on_decision(self, ids: tuple[int, ...], decision: str) -> None:
        annotator = self.state.annotator
        if annotator is None:
            return
        objects = annotator.session.objects
        match decision:
            case "accept":
                annotator.attempt(lambda: objects.flag(ids, "reviewed"))
            case "unsure":
                annotator.attempt(lambda: objects.flag(ids, "unsure"))
            case "reject":
                annotator.attempt(lambda: objects.delete(ids))

    def _on_class(self, ids: tuple[int, ...], number: int) -> None:
        annotator = self.state.annotator
        classes = [] if annotator is None else list(annotator.session.classes)
        if annotator is None or number >= len(classes):
            self.status.say(f"There is no class {number + 1}; add it in the Annotate tab first.")
            return
        session, class_id = annotator.session, classes[number].id
        annotator.attempt(lambda: session.objects.reclassify(ids, class_id))

    def _on_place(self, object_id: int) -> None:
        """Move the camera to the object of a card, and highlight it."""
        annotator = self.state.annotator
        if annotator is not None and object_id in annotator.session.document.objects:
            box = annotator.session.document.objects[object_id].box
            self._look_at(annotator, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
            annotator.tools.highlight.show([box])
            self._highlighted = True

    def _on_objects(self) -> None:
        # The table is updated later, so that a commit does not wait for it.
        self._timer.start()

    def _update_rows(self) -> None:
        self.model.update_objects()
        self.cards.refresh()
        self._show_count()
        self._highlight()

    def _show_classes(self) -> None:
        """Show the classes and their objects again if the class list changed."""
        session = self.state.session
        if session is None or session.classes.snapshot == self._classes:
            return
        self._classes = session.classes.snapshot
        self.filters.show_classes(self._classes)
        self.model.accepts = self._accepts()
        self.model.use(session)
        self._show_filtered()

    def _apply_filter(self) -> None:
        self.model.filter(self._accepts())
        self._show_filtered()

    def _accepts(self) -> Callable[[AnnotatedObject], bool] | None:
        wanted = self.filters.value()
        return None if wanted == ObjectFilter() else wanted.accepts

    def _show_filtered(self) -> None:
        if self.cards.isVisible():
            self.cards.use(self.state.session, self.filters.value().class_id)
        self._show_count()

    def _keep_selection(self) -> None:
        self._kept_selection = self.selected()

    def _restore_selection(self) -> None:
        if self._kept_selection:
            self.select(self._kept_selection)

    def _on_selection(self) -> None:
        self._highlight()
        self._show_count()
        rows = self.table.selectionModel().selectedRows()
        if len(rows) == 1:
            self._center(rows[0])

    def _center(self, index: QModelIndex) -> None:
        """Move the camera to an object without zooming."""
        annotator = self.state.annotator
        if annotator is not None and index.row() < len(self.model.rows):
            box = self.model.rows[index.row()].box
            self._look_at(annotator, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))

    @staticmethod
    def _look_at(annotator: Annotator, centre_rc: tuple[float, float]) -> None:
        view, world = camera(annotator.viewer), annotator.image.data_to_world(np.array(centre_rc))
        view.center = (*view.center[:-2], float(world[-2]), float(world[-1]))

    def _highlight(self) -> None:
        annotator, ids = self.state.annotator, self.selected()
        # If no object is selected and none was before, the highlighted box belongs to a tool.
        if annotator is not None and (ids or self._highlighted):
            objects = annotator.session.document.objects
            annotator.tools.highlight.show([objects[id_].box for id_ in ids if id_ in objects])
            self._highlighted = bool(ids)

    def _show_count(self) -> None:
        selected, shown, total = len(self.selected()), len(self.model.rows), self.model.total
        objects = plural(total, "object") if shown == total else f"{shown:,} of {plural(total, 'object')}"
        self.count.setText(f"{objects}, {selected:,} selected" if selected else objects)
        for name, widget in self.buttons.items():
            widget.setEnabled(self.state.annotator is not None and selected >= MIN_SELECTED.get(name, 1))


def _clear_highlight(state: ViewerState, _dock: object = None) -> None:
    if state.annotator is not None:
        state.annotator.tools.highlight.clear()
