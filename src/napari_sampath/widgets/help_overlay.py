"""All keys over the canvas, until a key or a click takes them away again."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, QUrl
from qtpy.QtGui import QDesktopServices, QMouseEvent
from qtpy.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from .key_settings import keys_file, write_keys_file
from .keys import SPACE

if TYPE_CHECKING:
    from .key_settings import KeyChoice

MOUSE = (
    ("click", "the structure has this pixel"),
    ("right-click, Alt-click", "the structure does not have it"),
    ("drag", "a box around a structure"),
    ("wheel", "zoom"),
)
"""What the mouse does in its first mode."""

MARGIN_PX = 12
STYLE = (
    "#sampath-help { background: rgba(18, 20, 28, 235); border: 1px solid rgba(255, 255, 255, 90);"
    " border-radius: 6px; } #sampath-help QLabel { color: white; background: transparent; }"
)
"""The same in every theme: it lies on the image."""


class HelpOverlay(QFrame):
    """A sheet that lists keys and mouse over another widget, and goes away when clicked.

    Args:
        over: The widget that it covers.
    """

    def __init__(self, over: QWidget) -> None:
        super().__init__(over)
        self.setObjectName("sampath-help")
        self.setStyleSheet(STYLE)
        self.lines: list[tuple[str, str]] = []
        """What it lists: key, what it does."""
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(16, 12, 16, 12)
        self._page: QWidget | None = None
        over.installEventFilter(self)
        self.hide()

    def toggle(self, choice: KeyChoice) -> None:
        """Show the keys in force, or hide them."""
        if self.isVisible():
            self.hide()
            return
        self._list(choice)
        self._fit()
        self.show()
        self.raise_()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go away."""
        self.hide()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Stay in the middle of what it covers."""
        if event is not None and event.type() == QEvent.Type.Resize and self.isVisible():
            self._fit()
        return bool(super().eventFilter(watched, event))

    def _list(self, choice: KeyChoice) -> None:
        if self._page is not None:
            self._column.removeWidget(self._page)
            self._page.deleteLater()
        self._page = page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        self.lines = []
        parts = [
            (heading, [(one.shown, one.text) for one in keys if one.shown])
            for heading, keys in groupby(choice.keys, key=lambda one: one.group)
        ]
        parts[-1][1].append(("Space, held", SPACE))
        left, right = QVBoxLayout(), QVBoxLayout()
        for number, (heading, lines) in enumerate([*parts, ("Mouse", list(MOUSE))]):
            side = right if number == 1 or number == 2 else left
            self._add(side, heading, lines)
        columns = QHBoxLayout()
        columns.setSpacing(24)
        for side in (left, right):
            side.addStretch(1)
            columns.addLayout(side)
        column.addLayout(columns)
        for problem in choice.problems:
            column.addWidget(_wrapped(f"keys.json: {problem}"))
        foot = QHBoxLayout()
        foot.addWidget(_wrapped("Object keys act on the object under the mouse. Click here to close."), 1)
        edit = QPushButton("Change keys…")
        edit.setToolTip(f"Open {keys_file()}; what you change counts when an image is opened next")
        edit.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        edit.clicked.connect(_open_keys_file)
        foot.addWidget(edit)
        column.addLayout(foot)
        self._column.addWidget(page)

    def _add(self, side: QVBoxLayout, heading: str, lines: list[tuple[str, str]]) -> None:
        side.addWidget(QLabel(f"<b>{heading}</b>"))
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 6)
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        for row, (key, text) in enumerate(lines):
            name = QLabel(key)
            name.setStyleSheet("color: #ffd84d;")
            grid.addWidget(name, row, 0)
            grid.addWidget(QLabel(text), row, 1)
        side.addLayout(grid)
        self.lines += lines

    def _fit(self) -> None:
        over = self.parentWidget()
        if over is None:
            return
        size = self.sizeHint().boundedTo(over.size())
        height = max(size.height(), min(self.heightForWidth(size.width()), over.height()))
        self.resize(size.width(), height)
        self.move((over.width() - size.width()) // 2, (over.height() - height) // 2)


def _wrapped(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label


def _open_keys_file() -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(write_keys_file())))
