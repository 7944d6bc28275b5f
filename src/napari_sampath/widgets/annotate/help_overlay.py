"""Overlay on the canvas that lists, finds and changes keys."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHeaderView,
    QKeySequenceEdit,
    QLayout,
    QLineEdit,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from ..common.controls import button, column, label, plain_tooltip, row
from ..viewer.key_settings import KeyChoice, keys_file, save_key
from ..viewer.keys import SPACE

MOUSE = (
    ("click", "mark a pixel that belongs to the object"),
    ("right-click, Alt-click", "mark a pixel that does not belong to it"),
    ("drag", "draw a box around the object"),
    ("wheel", "zoom"),
)
"""Mouse action and description, for the mode "point"."""

STYLE = (
    "#sampath-help { background: rgb(20, 22, 30); border: 1px solid rgb(120, 124, 140); border-radius: 6px; }"
    " #sampath-help QLabel, #sampath-help QTableWidget { color: white; background: transparent; }"
)
"""Style sheet of the overlay; the same in every theme, because the overlay lies on the image."""
KEY_COLOR = "#ffd84d"
WIDTH_PX = 460
MARGIN_PX = 4
"""Distance from the edges of the covered widget, whose own margin around the canvas is smaller."""
_NAME = Qt.ItemDataRole.UserRole


class HelpOverlay(QFrame):
    """A list of keys and mouse actions on top of another widget; a click beside the list closes it.

    Typing in the search field filters the list. A double click on a line, or *Change key*, waits for its new key.
    """

    def __init__(self, covered: QWidget) -> None:
        super().__init__(covered)
        self.setObjectName("sampath-help")
        self.setStyleSheet(STYLE)
        self.lines: list[tuple[str, str]] = []
        """(key, description) of each line."""
        self._choice: KeyChoice | None = None
        self._reload: Callable[[], KeyChoice] | None = None
        self._changing = ""
        """Name of the action that waits for a new key."""
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a key or an action")
        self.search.setAccessibleName("Find a key or an action")
        self.search.textChanged.connect(self._filter)
        self.table = QTableWidget(0, 2)
        self.table.setAccessibleName("Keys")
        self.table.horizontalHeader().hide()
        self.table.verticalHeader().hide()
        self.table.setTabKeyNavigation(False)
        self.table.setShowGrid(False)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        self.table.cellDoubleClicked.connect(lambda *_: self._begin_change())
        self.note = label(wrap=True)
        self.key_edit = QKeySequenceEdit()
        self.key_edit.setAccessibleName("New key")
        # Before Qt 6.5, the field waits a second for more keys.
        if hasattr(self.key_edit, "setMaximumSequenceLength"):
            self.key_edit.setMaximumSequenceLength(1)
        self.key_edit.keySequenceChanged.connect(self._on_key)
        self.key_edit.hide()
        self.edit_button = button("Change key", on_click=self._begin_change)
        self.close_button = button("Close", "Close the list", self.hide)
        buttons = row(self.edit_button, self.key_edit, self.close_button, stretch=1)
        layout = column(self.search, self.table, self.note, buttons, parent=self)
        layout.setContentsMargins(16, 12, 16, 12)
        layout.setSpacing(8)
        # The buttons set no minimum width, because on a narrow canvas the list would then cover the docks.
        layout.setSizeConstraint(QLayout.SizeConstraint.SetNoConstraint)
        covered.installEventFilter(self)
        self.hide()

    def toggle(self, choice: KeyChoice, reload: Callable[[], KeyChoice]) -> None:
        """Show the list of these keys, or hide it if it is visible.

        Args:
            choice: The keys.
            reload: Binds the keys of the settings file and returns them.
        """
        if self.isVisible():
            self.hide()
            return
        self._reload = reload
        self._show_keys(choice)
        self.search.clear()
        hint = f"Change the key of the selected line; it is stored in {keys_file()}"
        self.edit_button.setToolTip(plain_tooltip(hint))
        self.show()
        self._center()
        self.raise_()

    def hideEvent(self, event: object) -> None:
        """Stop waiting for a key."""
        self._end_change()
        super().hideEvent(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Close the list with Escape."""
        if event is not None and event.key() == Qt.Key.Key_Escape:
            self.hide()
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Close the list."""
        self.hide()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Keep the list centred on the widget that it covers."""
        if event is not None and event.type() == QEvent.Type.Resize and self.isVisible():
            self._center()
        return bool(super().eventFilter(watched, event))

    def _show_keys(self, choice: KeyChoice) -> None:
        self._choice = choice
        self.table.setRowCount(0)
        self.lines = []
        for heading, keys in groupby(choice.keys, key=lambda key: key.group):
            self._add_heading(heading)
            for key in keys:
                if key.shown:
                    # The keys 1 to 9 belong together and are not changed one by one.
                    self._add_line(key.shown, key.text, "" if key.method == "choose_class" else key.name)
        self._add_line("Hold Space", SPACE)
        self._add_heading("Mouse")
        for action, text in MOUSE:
            self._add_line(action, text)
        self.table.resizeColumnToContents(0)
        self._say("\n".join(f"{keys_file().name}: {problem}" for problem in choice.problems))

    def _add_heading(self, text: str) -> None:
        index = self._add_row(text, "", "")
        font = self.table.item(index, 0).font()
        font.setBold(True)
        self.table.item(index, 0).setFont(font)
        self.table.item(index, 0).setFlags(Qt.ItemFlag.NoItemFlags)
        self.table.setSpan(index, 0, 1, 2)

    def _add_line(self, key: str, text: str, name: str = "") -> None:
        index = self._add_row(key, text, name)
        self.table.item(index, 0).setForeground(QColor(KEY_COLOR))
        self.lines.append((key, text))

    def _add_row(self, first: str, second: str, name: str) -> int:
        index: int = self.table.rowCount()
        self.table.insertRow(index)
        for place, text in enumerate((first, second)):
            item = QTableWidgetItem(text)
            item.setData(_NAME, name)
            self.table.setItem(index, place, item)
        return index

    def _filter(self, text: str) -> None:
        wanted = text.strip().casefold()
        for index in range(self.table.rowCount()):
            cells = [self.table.item(index, place).text().casefold() for place in (0, 1)]
            heading = self.table.columnSpan(index, 0) == 2
            self.table.setRowHidden(
                index, bool(wanted) and (heading or not any(wanted in cell for cell in cells))
            )

    def _begin_change(self) -> None:
        item = self.table.item(self.table.currentRow(), 0)
        name = "" if item is None else str(item.data(_NAME))
        if not name or self._choice is None:
            self._say("Select the line of a key that can be changed.")
            return
        self._changing = name
        self._say(f"Press the new key for '{self._choice.text(name)}'.")
        self.key_edit.clear()
        self.key_edit.show()
        self.key_edit.setFocus()

    def _on_key(self) -> None:
        sequence, name = self.key_edit.keySequence(), self._changing
        if not name or sequence.isEmpty():
            return
        self._end_change()
        problem = save_key(name, sequence.toString().split(", ")[0].replace("+", "-"))
        if self._reload is not None:
            self._show_keys(self._reload())
            self._filter(self.search.text())
        if problem:
            self._say(problem)

    def _end_change(self) -> None:
        self._changing = ""
        self.key_edit.hide()

    def _say(self, text: str) -> None:
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def _center(self) -> None:
        covered = self.parentWidget()
        if covered is None:
            return
        rows = sum(self.table.rowHeight(index) for index in range(self.table.rowCount()))
        width = min(WIDTH_PX, covered.width() - 2 * MARGIN_PX)
        height = min(rows + 140, covered.height() - 2 * MARGIN_PX)
        self.setGeometry((covered.width() - width) // 2, (covered.height() - height) // 2, width, height)
