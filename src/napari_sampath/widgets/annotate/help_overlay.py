"""All keys over the canvas, until a key or a click takes them away again."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, QUrl
from qtpy.QtGui import QDesktopServices, QMouseEvent
from qtpy.QtWidgets import QFrame, QLabel, QPushButton, QVBoxLayout, QWidget

from ..viewer.key_settings import keys_file, write_keys_file
from ..viewer.keys import SPACE

if TYPE_CHECKING:
    from ..viewer.key_settings import KeyChoice

MOUSE = (
    ("click", "the structure has this pixel"),
    ("right-click, Alt-click", "the structure does not have it"),
    ("drag", "a box around the structure"),
    ("wheel", "zoom"),
)
"""What the mouse does in its first mode."""

STYLE = (
    "#sampath-help { background: rgb(20, 22, 30); border: 1px solid rgb(120, 124, 140); border-radius: 6px; }"
    " #sampath-help QLabel { color: white; background: transparent; }"
)
"""The same in every theme: it lies on the image."""
KEY_COLOR = "#ffd84d"


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
        self.table = QLabel()
        self.table.setTextFormat(Qt.TextFormat.RichText)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.edit_button = QPushButton("Change keys…")
        self.edit_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.edit_button.clicked.connect(_open_keys_file)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 12, 16, 12)
        column.setSpacing(8)
        column.addWidget(self.table)
        column.addWidget(self.note)
        column.addWidget(self.edit_button, 0, Qt.AlignmentFlag.AlignLeft)
        over.installEventFilter(self)
        self.hide()

    def toggle(self, choice: KeyChoice) -> None:
        """Show the keys in force, or hide them."""
        if self.isVisible():
            self.hide()
            return
        parts = [
            (heading, [(one.shown, one.text) for one in keys if one.shown])
            for heading, keys in groupby(choice.keys, key=lambda one: one.group)
        ]
        parts[-1][1].append(("Space, held", SPACE))
        parts.append(("Mouse", list(MOUSE)))
        self.lines = [line for _, lines in parts for line in lines]
        self.table.setText(_html(parts))
        self.note.setText("\n".join(f"{keys_file().name}: {problem}" for problem in choice.problems))
        self.note.setVisible(bool(choice.problems))
        self.edit_button.setToolTip(
            f"Open {keys_file()}; what you change counts when an image is opened next"
        )
        self.show()
        self._fit()
        self.raise_()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go away."""
        self.hide()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Stay in the middle of what it covers."""
        if event is not None and event.type() == QEvent.Type.Resize and self.isVisible():
            self._fit()
        return bool(super().eventFilter(watched, event))

    def _fit(self) -> None:
        over = self.parentWidget()
        if over is None:
            return
        width = min(self.sizeHint().width(), over.width())
        height = min(max(self.heightForWidth(width), self.sizeHint().height()), over.height())
        self.setGeometry((over.width() - width) // 2, (over.height() - height) // 2, width, height)


def _html(parts: list[tuple[str, list[tuple[str, str]]]]) -> str:
    rows = []
    for heading, lines in parts:
        rows.append(f"<tr><td colspan=2><b>{escape(heading)}</b></td></tr>")
        for key, text in lines:
            cell = f"<td style='color: {KEY_COLOR}; padding-right: 16px'>{escape(key)}</td>"
            rows.append(f"<tr>{cell}<td>{escape(text)}</td></tr>")
        rows.append("<tr><td></td></tr>")
    return f"<table cellspacing=0 cellpadding=1>{''.join(rows[:-1])}</table>"


def _open_keys_file() -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(write_keys_file())))
