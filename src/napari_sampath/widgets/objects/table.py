"""Qt model of the table of objects: sorted and filtered rows, updated object by object."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt, Signal
from qtpy.QtGui import QIcon

from ...annotations import AnnotatedObject
from ...session import Column, Session, sort_rows
from ..common.pixmaps import swatch

SOURCES = {
    "point": "click",
    "box": "box",
    "mask": "mask prompt",
    "brush": "brush",
    "head": "trained head",
    "similar": "find similar",
    "text": "text",
    "import": "file",
}
"""`AnnotatedObject.source` -> text in the table."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A column of the table."""

    title: str
    tooltip: str
    column: Column
    text: Callable[[AnnotatedObject], str] = lambda _row: ""
    number: bool = False


def _created(row: AnnotatedObject) -> str:
    return datetime.datetime.fromisoformat(row.created).astimezone().strftime("%d %b %H:%M")


CLASS, AREA, AREA_UM2, SCORE, REVIEWED, UNSURE = range(6)

HEADINGS = (
    Heading("Class", "Class of the object", "class_name"),
    Heading("Area px", "Area in pixels", "area_px", lambda row: f"{row.area_px:,}", True),
    Heading("µm²", "Area in square micrometres, from the scale of the image layer", "area_px", number=True),
    Heading(
        "Score",
        "Predicted IoU or confidence, 0 to 1; empty if drawn by hand",
        "score",
        lambda row: "" if row.score is None else f"{row.score:.2f}",
        True,
    ),
    Heading("OK", "Reviewed: a person has checked and accepted the object", "reviewed"),
    Heading("?", "Unsure: heads are not trained on the object", "unsure"),
    Heading("Origin", "How the object was made", "source", lambda row: SOURCES.get(row.source, row.source)),
    Heading("Model", "Model or head that made the object", "model", lambda row: row.model or ""),
    Heading("Created", "When the object was made", "created", _created),
    Heading("No.", "Number of the object in the layer Objects", "id", lambda row: str(row.id), True),
)


class ObjectTable(QAbstractTableModel):
    """One row for each object of a session.

    It shows the records of the document, without a copy, so that an update is fast even with 100,000 objects. The model
    never changes the session.
    """

    flag_requested = Signal(int, str, bool)
    """Object id, flag ("reviewed" or "unsure"), and whether it is checked."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.mpp: float | None = None
        """Micrometres per pixel; None if unknown."""
        self.rows: list[AnnotatedObject] = []
        """The records of the visible rows, in the order of the table."""
        self._session: Session | None = None
        self._names: dict[int, str] = {}
        self._icons: dict[int, QIcon] = {}
        self.accepts: Callable[[AnnotatedObject], bool] | None = None
        """Returns True for the objects that are shown; None shows all. Change it with `filter`, or before `use`."""
        self._sorting: tuple[int, bool] = (len(HEADINGS) - 1, False)

    @property
    def total(self) -> int:
        """Number of objects, including those that are not shown."""
        return 0 if self._session is None else len(self._session.document.objects)

    def use(self, session: Session | None) -> None:
        """Show the objects of another session, or of the same one after its classes changed."""
        self._session = session
        classes = () if session is None else session.classes
        self._icons = {info.id: swatch(info.color) for info in classes}
        self._names = {info.id: info.name for info in classes}
        self._arrange(reset=True)

    def update_objects(self) -> None:
        """Show the objects of the session again after they changed."""
        self._arrange()

    def filter(self, accepts: Callable[[AnnotatedObject], bool] | None) -> None:
        """Show only the objects for which `accepts` returns True; all if it is None."""
        self.accepts = accepts
        self._arrange()

    def row_of(self, object_id: int) -> int | None:
        """Return the index of the row of an object; None if it is not shown."""
        return next((index for index, row in enumerate(self.rows) if row.id == object_id), None)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; Qt calls this when a heading is clicked."""
        if 0 <= column < len(HEADINGS):
            self._sorting = (column, order == Qt.SortOrder.DescendingOrder)
            self._arrange()

    def _arrange(self, reset: bool = False) -> None:
        column, descending = HEADINGS[self._sorting[0]].column, self._sorting[1]
        objects = () if self._session is None else self._session.document.objects.values()
        accepted = objects if self.accepts is None else filter(self.accepts, objects)
        rows = sort_rows(accepted, column, descending, self._names)
        if not reset and [row.id for row in rows] == [row.id for row in self.rows]:
            self.rows = rows
            if rows:
                self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(HEADINGS) - 1))
            return
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()

    # Methods of QAbstractTableModel

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of rows."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of columns."""
        return 0 if parent is not None and parent.isValid() else len(HEADINGS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        """Return the title or the tooltip of a column."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(HEADINGS):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return HEADINGS[section].title
        return HEADINGS[section].tooltip if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return the text, icon, check state or alignment of a cell."""
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            if column == AREA_UM2:
                return "" if self.mpp is None else f"{row.area_px * self.mpp**2:,.1f}"
            return self._names.get(row.class_id, "") if column == CLASS else HEADINGS[column].text(row)
        if role == Qt.ItemDataRole.DecorationRole and column == CLASS:
            return self._icons.get(row.class_id)
        if role == Qt.ItemDataRole.CheckStateRole and column in (REVIEWED, UNSURE):
            checked = row.reviewed if column == REVIEWED else row.unsure
            return Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked
        if role == Qt.ItemDataRole.TextAlignmentRole and HEADINGS[column].number:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = 0) -> bool:
        """Request a flag; the check mark changes once the session has set the flag."""
        if role != Qt.ItemDataRole.CheckStateRole or not index.isValid():
            return False
        checked = Qt.CheckState(value) == Qt.CheckState.Checked
        flag = "reviewed" if index.column() == REVIEWED else "unsure"
        self.flag_requested.emit(self.rows[index.row()].id, flag, checked)
        return True

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Return the item flags, which make rows selectable and the flags checkable."""
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return flags | Qt.ItemFlag.ItemIsUserCheckable if index.column() in (REVIEWED, UNSURE) else flags
