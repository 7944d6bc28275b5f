"""The Objects dock: a table of all objects, to find, check and correct them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QItemSelection, QItemSelectionModel, QModelIndex, QSignalBlocker, QTimer
from qtpy.QtWidgets import QGridLayout, QLabel

from ..canvas.pixel_size import mpp_of
from ..canvas.viewport import camera
from ..common.base_dock import Dock, group
from ..common.status_line import StatusLine
from .completed_area import AreaTools
from .filters import ObjectFilters
from .table import AREA_UM2, HEADINGS, ObjectTable
from .table_keys import ObjectView, sequence

if TYPE_CHECKING:
    from ...annotations import FlagName
    from ...arrays import ClassInfo
    from ..viewer.annotator import Annotator
    from ..viewer.viewer_state import ViewerState


class ObjectsDock(Dock):
    """The objects of the image being annotated: sorted, filtered, shown on the image, corrected several at a time.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        state: Shared state; that of the viewer by default.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__(napari_viewer, state)
        self.model = ObjectTable(self)
        self.table = ObjectView(self.model)
        self.filters = ObjectFilters()
        self.count = QLabel()
        self.buttons = {
            name: self.button(text, hint)
            for name, text, hint in (
                ("reviewed", "Reviewed", "Tick the chosen objects: you have looked at them and agree"),
                (
                    "unsure",
                    "Unsure",
                    "Mark the chosen objects as ones you cannot tell; they are not learned from",
                ),
                (
                    "reclassify",
                    "Reclass",
                    "Give the chosen objects the class that is chosen in the Annotate dock",
                ),
                (
                    "merge",
                    "Join",
                    "Make one object of the chosen ones, which need not touch; the uppermost gives the class",
                ),
                ("delete", "Delete", "Delete the chosen objects"),
                ("undo", "Undo", "Take the last change back"),
            )
        }
        self.area = AreaTools(self.state)
        self.status = StatusLine(self.state.runner, "Click an object in the table to see it on the image.")
        self._shown: Annotator | None = None
        self._classes: tuple[ClassInfo, ...] = ()
        self._stale: set[int] = set()
        self._kept: tuple[int, ...] = ()
        self._marked = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._catch_up)
        self._arrange()
        self._connect()
        self.state.start()
        self.refresh()

    def chosen(self) -> tuple[int, ...]:
        """List the chosen objects, from the top of the table."""
        selection = self.table.selectionModel()
        places = sorted(index.row() for index in selection.selectedRows()) if selection is not None else ()
        return tuple(self.model.rows[place].id for place in places)

    def choose(self, ids: tuple[int, ...]) -> None:
        """Choose objects in the table, those of them that are shown; the camera stays where it is."""
        selection, model = self.table.selectionModel(), self.model
        wanted, last = QItemSelection(), len(HEADINGS) - 1
        for one in ids:
            place = model.row_of(one)
            if place is not None:
                wanted.select(model.index(place, 0), model.index(place, last))
        if selection is not None:
            with QSignalBlocker(selection):
                selection.select(wanted, QItemSelectionModel.SelectionFlag.ClearAndSelect)
                if wanted.indexes():
                    selection.setCurrentIndex(wanted.indexes()[0], QItemSelectionModel.SelectionFlag.NoUpdate)
        self._mark()
        self.table.viewport().update()

    def refresh(self) -> None:
        """Show the objects of the image in use."""
        annotator = self.state.annotator
        if annotator is not self._shown:
            self._follow(annotator)
        self._show_classes()
        self._show_count()

    def _follow(self, annotator: Annotator | None) -> None:
        self._shown = annotator
        self.table.keys = {}
        if annotator is None:
            self._classes = ()
            self.model.use(None)
            return
        annotator.tools.objects_changed.connect(self._on_objects)
        self.model.mpp = mpp_of(annotator.image)
        self.table.setColumnHidden(AREA_UM2, self.model.mpp is None)
        self._classes = ()
        self._bind_keys(annotator)

    def _bind_keys(self, annotator: Annotator) -> None:
        """Let the keys of the canvas do the same to the chosen objects while the table has the keyboard."""
        for one in annotator.key_choice.keys:
            key = sequence(one.key)
            if one.method == "choose_class":
                self.table.keys[key] = partial(annotator.choose_class, *one.arguments)
            elif one.name in (*self.buttons, "redo"):
                self.table.keys[key] = partial(self.do, one.name)
        for name, button in self.buttons.items():
            hint = button.toolTip().split("\n")[0]
            button.setToolTip(f"{hint}\n{annotator.key_choice.shown(name)}, with the keyboard in the table")

    def do(self, name: str) -> None:
        """Do to the chosen objects what a button says, as one step of undo."""
        annotator, ids = self.state.annotator, self.chosen()
        if annotator is None:
            return
        if name in ("undo", "redo"):
            getattr(annotator, name)()
            return
        if not ids:
            self.state.message.emit("Choose at least one object in the table first.")
            return
        objects = annotator.session.objects
        match name:
            case "reviewed" | "unsure":
                flag: FlagName = "reviewed" if name == "reviewed" else "unsure"
                ticked = all(getattr(annotator.session.document.record(one), flag) for one in ids)
                annotator.attempt(lambda: objects.flag(ids, flag, not ticked))
            case "reclassify":
                annotator.attempt(lambda: objects.reclassify(ids, annotator.session.active_class))
            case "merge":
                annotator.attempt(lambda: objects.merge(ids))
            case "delete":
                annotator.attempt(lambda: objects.delete(ids))

    def _arrange(self) -> None:
        self.column.addWidget(self.filters)
        self.column.addWidget(self.table, 1)
        self.column.addWidget(self.count)
        grid = QGridLayout()
        grid.setSpacing(4)
        for number, button in enumerate(self.buttons.values()):
            grid.addWidget(button, number // 3, number % 3)
        self.column.addLayout(grid)
        self.column.addWidget(group("Complete: nothing is left out", self.area))
        self.column.addWidget(self.status)

    def _connect(self) -> None:
        self.state.changed.connect(self.refresh)
        self.state.message.connect(self.status.say)
        for name, button in self.buttons.items():
            button.clicked.connect(partial(self._on_button, name))
        self.filters.changed.connect(self._on_filter)
        self.table.clicked.connect(self._centre)
        self.model.flag_wished.connect(self._on_flag)
        # Nothing of this object may be used once it is destroyed.
        self.destroyed.connect(partial(_unmark, self.state))
        self.model.modelAboutToBeReset.connect(self._remember)
        self.model.modelReset.connect(self._restore)
        selection = self.table.selectionModel()
        if selection is not None:
            selection.selectionChanged.connect(self._on_chosen)

    def _on_button(self, name: str, _checked: bool = False) -> None:
        self.do(name)

    def _on_flag(self, object_id: int, flag: FlagName, ticked: bool) -> None:
        annotator = self.state.annotator
        if annotator is not None:
            annotator.attempt(lambda: annotator.session.objects.flag((object_id,), flag, ticked))

    def _on_objects(self, ids: frozenset[int]) -> None:
        # Later, all at once: a commit must not wait for a table.
        self._stale |= ids
        self._timer.start()

    def _catch_up(self) -> None:
        ids, self._stale = self._stale, set()
        self.model.update_objects(ids)
        self._show_count()
        self._mark()

    def _show_classes(self) -> None:
        """Show other names, colours or classes, if there are."""
        session = self.state.session
        if session is None or session.classes.snapshot == self._classes:
            return
        self._classes = session.classes.snapshot
        self.filters.show_classes(self._classes)
        self._stale.clear()
        self.model.use(session)
        self._on_filter()

    def _on_filter(self) -> None:
        self.model.show_only(self.filters.value())
        self._show_count()

    def _remember(self) -> None:
        self._kept = self.chosen()

    def _restore(self) -> None:
        if self._kept:
            self.choose(self._kept)

    def _on_chosen(self) -> None:
        self._mark()
        self._show_count()
        selection = self.table.selectionModel()
        if selection is not None and len(rows := selection.selectedRows()) == 1:
            self._centre(rows[0])

    def _centre(self, index: QModelIndex) -> None:
        """Move the camera to an object; its zoom stays."""
        annotator = self.state.annotator
        if annotator is not None and index.row() < len(self.model.rows):
            view, centre_rc = camera(annotator.viewer), self.model.rows[index.row()].centre_rc
            world = annotator.image.data_to_world(np.array(centre_rc))
            view.center = (*view.center[:-2], float(world[-2]), float(world[-1]))

    def _mark(self) -> None:
        """Frame the chosen objects on the image."""
        annotator, ids = self.state.annotator, self.chosen()
        # With none chosen, now and before, the frame is somebody else's.
        if annotator is not None and (ids or self._marked):
            records = annotator.session.document.objects
            annotator.tools.highlight.show([records[one].box for one in ids if one in records])
            self._marked = bool(ids)

    def _show_count(self) -> None:
        chosen, shown, total = len(self.chosen()), len(self.model.rows), self.model.total
        objects = f"{total:,} objects" if shown == total else f"{shown:,} of {total:,} objects"
        self.count.setText(f"{objects}, {chosen:,} chosen" if chosen else objects)
        for name, button in self.buttons.items():
            least = {"undo": 0, "merge": 2}.get(name, 1)
            button.setEnabled(self.state.annotator is not None and chosen >= least)


def _unmark(state: ViewerState, _dock: object = None) -> None:
    if state.annotator is not None:
        state.annotator.tools.highlight.clear()
