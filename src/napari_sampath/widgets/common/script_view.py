"""Show the run of a dock as a `sampath` command and as Python, with buttons that copy them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from qtpy.QtCore import Qt
from qtpy.QtGui import QFontDatabase, QGuiApplication
from qtpy.QtWidgets import QDialog, QPlainTextEdit, QPushButton, QWidget

from .controls import button, column, label, row

LINES_SHOWN = 12
WIDTH_PX = 620


@dataclass(frozen=True, slots=True)
class Script:
    """The same run as a command and as a Python program."""

    command: str
    """One line for a shell."""
    python: str
    """A complete program."""
    note: str = ""
    """A sentence about running them."""


class ScriptDialog(QDialog):
    """Shows a script; each part has a Copy button. The window stays usable while it is open."""

    def __init__(self, script: Script, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Copy as script")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.command, self.copy_command_button = self._part("Command", script.command, lines=3)
        self.python, self.copy_python_button = self._part("Python", script.python, LINES_SHOWN)
        note = label(script.note, wrap=True)
        note.setVisible(bool(script.note))
        close = button("Close", "Close this window", self.close)
        column(
            row(label("Command line"), self.copy_command_button, stretch=0),
            self.command,
            row(label("Python"), self.copy_python_button, stretch=0),
            self.python,
            note,
            row(close),
            parent=self,
        )
        self.resize(WIDTH_PX, self.sizeHint().height())

    def _part(self, name: str, text: str, lines: int) -> tuple[QPlainTextEdit, QPushButton]:
        view = QPlainTextEdit(text)
        view.setReadOnly(True)
        view.setTabChangesFocus(True)
        view.setAccessibleName(f"{name} of this run")
        view.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        view.setFixedHeight(lines * view.fontMetrics().lineSpacing() + 12)
        copy = button("Copy", f"Copy the {name.lower()} to the clipboard", partial(_copy, text))
        return view, copy


def script_button(
    parent: QWidget, make: Callable[[], Script | str], say: Callable[[str], object]
) -> QPushButton:
    """Make the button *Copy as script*.

    Args:
        parent: The parent of the dialog.
        make: Returns the script of the run that the dock would start now, or a sentence that explains why there is
            none.
        say: Shows that sentence.
    """

    def show() -> None:
        script = make()
        if isinstance(script, str):
            say(script)
        else:
            ScriptDialog(script, parent).show()

    return button("Copy as script…", "Show this run as a sampath command and as Python, to copy them", show)


def command_line(subcommand: str, arguments: Sequence[object], flags: Mapping[str, object]) -> str:
    """Format a `sampath` command; flags whose value is None are left out.

    Args:
        subcommand: Such as "segment".
        arguments: Positional arguments.
        flags: Flag such as "--head" -> its value, or a sequence of values.
    """
    words = ["sampath", subcommand, *map(str, arguments)]
    for flag, value in flags.items():
        if value is not None:
            values = value if isinstance(value, list | tuple) else (value,)
            words += [flag, *map(str, values)]
    return shlex.join(words)


def _copy(text: str) -> None:
    clipboard = QGuiApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)
