"""The table of objects as Qt's views read it: sorted and filtered rows of a session, updated object by object."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt, Signal

from ...session import Column, ObjectRow, sort_rows
from ..annotate.class_list import swatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qtpy.QtGui import QIcon

    from ...session import Session

SOURCES = {
    "point": "click",
    "box": "box",
    "mask": "mask prompt",
    "brush": "brush",
    "head": "trained head",
    "import": "file",
}
"""How an object came about, in the user's words."""


@dataclass(frozen=True, slots=True)
class Heading:
    """One column."""

    title: str
    hint: str
    column: Column
    text: Callable[[ObjectRow], str]
    number: bool = False


def _when(row: ObjectRow) -> str:
    return datetime.datetime.fromisoformat(row.created).astimezone().strftime("%d %b %H:%M")


def _nothing(_row: ObjectRow) -> str:
    return ""


CLASS, AREA, AREA_UM2, SCORE, REVIEWED, UNSURE = range(6)

HEADINGS = (
    Heading("Class", "Its class", "class_name", lambda row: row.class_name),
    Heading("Area px", "Pixels it has", "area_px", lambda row: f"{row.area_px:,}", True),
    Heading(
        "µm²", "Its area in square micrometres, by the scale of the image layer", "area_px", _nothing, True
    ),
    Heading(
        "Score",
        "How sure the model was, 0 to 1; empty for what was made by hand",
        "score",
        lambda row: "" if row.score is None else f"{row.score:.2f}",
        True,
    ),
    Heading("OK", "Reviewed: a person has looked at it and agrees", "reviewed", _nothing),
    Heading("?", "Unsure: a person cannot tell; it is not learned from", "unsure", _nothing),
    Heading("Made by", "How it came about", "source", lambda row: SOURCES.get(row.source, row.source)),
    Heading("Model", "The model or trained head that found it", "model", lambda row: row.model or ""),
    Heading("When", "When it was made", "created", _when),
    Heading("No.", "Its number in the layer Objects", "id", lambda row: str(row.id), True),
)


class ObjectTable(QAbstractTableModel):
    """Objects of a session, one a row.

    It holds a row for each object and makes anew those of objects that changed, so that one more among thousands
    costs little; it never changes the session.
    """

    flag_wished = Signal(int, str, bool)
    """Wish: object, "reviewed" or "unsure", whether it is ticked."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.mpp: float | None = None
        """Micrometres per pixel, if known."""
        self.rows: list[ObjectRow] = []
        """What is shown, in its order."""
        self._session: Session | None = None
        self._all: dict[int, ObjectRow] = {}
        self._icons: dict[int, QIcon] = {}
        self._only: Callable[[ObjectRow], bool] | None = None
        self._sorted: tuple[int, bool] = (len(HEADINGS) - 1, False)

    @property
    def total(self) -> int:
        """Number of objects, those not shown included."""
        return len(self._all)

    def use(self, session: Session | None) -> None:
        """Show the objects of another session, or of the same one after its classes changed."""
        self._session = session
        classes = () if session is None else session.classes
        self._icons = {info.id: swatch(info.color) for info in classes}
        self._all = {} if session is None else {row.id: row for row in session.objects.rows()}
        self._arrange(fresh=True)

    def update_objects(self, ids: Iterable[int]) -> None:
        """Read some objects of the session again; those that are gone leave the table."""
        if self._session is None:
            return
        for one in ids:
            row = self._session.objects.row(one)
            if row is None:
                self._all.pop(one, None)
            else:
                self._all[one] = row
        self._arrange()

    def show_only(self, only: Callable[[ObjectRow], bool] | None) -> None:
        """Show some of the rows; None for all."""
        self._only = only
        self._arrange()

    def row_of(self, object_id: int) -> int | None:
        """Return the place of an object; None if it is not shown."""
        return next((place for place, row in enumerate(self.rows) if row.id == object_id), None)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column (Qt calls this when a heading is clicked)."""
        if 0 <= column < len(HEADINGS):
            self._sorted = (column, order == Qt.SortOrder.DescendingOrder)
            self._arrange()

    def _arrange(self, fresh: bool = False) -> None:
        column, descending = self._sorted
        wanted = self._all.values() if self._only is None else filter(self._only, self._all.values())
        rows = sort_rows(wanted, HEADINGS[column].column, descending)
        if not fresh and [row.id for row in rows] == [row.id for row in self.rows]:
            self.rows = rows
            if rows:
                self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(HEADINGS) - 1))
            return
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()

    # What Qt asks

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of rows."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of columns."""
        return 0 if parent is not None and parent.isValid() else len(HEADINGS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        """Return a heading, or what it means."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(HEADINGS):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return HEADINGS[section].title
        return HEADINGS[section].hint if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return what a cell shows."""
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            if column == AREA_UM2:
                return "" if self.mpp is None else f"{row.area_px * self.mpp**2:,.1f}"
            return HEADINGS[column].text(row)
        if role == Qt.ItemDataRole.DecorationRole and column == CLASS:
            return self._icons.get(row.class_id)
        if role == Qt.ItemDataRole.CheckStateRole and column in (REVIEWED, UNSURE):
            ticked = row.reviewed if column == REVIEWED else row.unsure
            return Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked
        if role == Qt.ItemDataRole.TextAlignmentRole and HEADINGS[column].number:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = 0) -> bool:
        """Pass a tick on as a wish; it is shown once the session has it."""
        if role != Qt.ItemDataRole.CheckStateRole or not index.isValid():
            return False
        ticked = Qt.CheckState(value) == Qt.CheckState.Checked
        name = "reviewed" if index.column() == REVIEWED else "unsure"
        self.flag_wished.emit(self.rows[index.row()].id, name, ticked)
        return True

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Say that rows can be chosen, and marks ticked."""
        plain = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return plain | Qt.ItemFlag.ItemIsUserCheckable if index.column() in (REVIEWED, UNSURE) else plain
