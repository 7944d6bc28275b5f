"""Overlay on the canvas that lists all keys; a click on it closes it."""

from __future__ import annotations

from html import escape
from itertools import groupby

from qtpy.QtCore import QEvent, QObject, Qt, QUrl
from qtpy.QtGui import QDesktopServices, QMouseEvent
from qtpy.QtWidgets import QFrame, QLabel, QWidget

from ..common.controls import button, column, label, plain_tooltip
from ..viewer.key_settings import KeyChoice, keys_file, write_keys_file
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
    " #sampath-help QLabel { color: white; background: transparent; }"
)
"""Style sheet of the overlay; the same in every theme, because the overlay lies on the image."""
KEY_COLOR = "#ffd84d"


class HelpOverlay(QFrame):
    """A list of keys and mouse actions on top of another widget; a click on it closes it."""

    def __init__(self, covered: QWidget) -> None:
        super().__init__(covered)
        self.setObjectName("sampath-help")
        self.setStyleSheet(STYLE)
        self.lines: list[tuple[str, str]] = []
        """(key, description) of each line."""
        self.table = QLabel()
        self.table.setTextFormat(Qt.TextFormat.RichText)
        self.note = label(wrap=True)
        self.edit_button = button("Change keys…", on_click=_open_keys_file)
        layout = column(self.table, self.note, self.edit_button, parent=self)
        layout.setContentsMargins(16, 12, 16, 12)
        layout.setSpacing(8)
        layout.setAlignment(self.edit_button, Qt.AlignmentFlag.AlignLeft)
        covered.installEventFilter(self)
        self.hide()

    def toggle(self, choice: KeyChoice) -> None:
        """Show the list of these keys, or hide it if it is visible."""
        if self.isVisible():
            self.hide()
            return
        sections = [
            (heading, [(key.shown, key.text) for key in keys if key.shown])
            for heading, keys in groupby(choice.keys, key=lambda key: key.group)
        ]
        sections[-1][1].append(("Space, held", SPACE))
        sections.append(("Mouse", list(MOUSE)))
        self.lines = [line for _, lines in sections for line in lines]
        self.table.setText(_html(sections))
        self.note.setText("\n".join(f"{keys_file().name}: {problem}" for problem in choice.problems))
        self.note.setVisible(bool(choice.problems))
        self.edit_button.setToolTip(
            plain_tooltip(f"Open {keys_file()}; changes apply when you open the next image.")
        )
        self.show()
        self._center()
        self.raise_()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Close the list."""
        self.hide()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Keep the list centred on the widget that it covers."""
        if event is not None and event.type() == QEvent.Type.Resize and self.isVisible():
            self._center()
        return bool(super().eventFilter(watched, event))

    def _center(self) -> None:
        covered = self.parentWidget()
        if covered is None:
            return
        width = min(self.sizeHint().width(), covered.width())
        height = min(max(self.heightForWidth(width), self.sizeHint().height()), covered.height())
        self.setGeometry((covered.width() - width) // 2, (covered.height() - height) // 2, width, height)


def _html(sections: list[tuple[str, list[tuple[str, str]]]]) -> str:
    rows = []
    for heading, lines in sections:
        rows.append(f"<tr><td colspan=2><b>{escape(heading)}</b></td></tr>")
        for key, text in lines:
            cell = f"<td style='color: {KEY_COLOR}; padding-right: 16px'>{escape(key)}</td>"
            rows.append(f"<tr>{cell}<td>{escape(text)}</td></tr>")
        rows.append("<tr><td></td></tr>")
    return f"<table cellspacing=0 cellpadding=1>{''.join(rows[:-1])}</table>"


def _open_keys_file() -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(write_keys_file())))
