"""Questions that wait in a dock for an answer, without stopping anything."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QGridLayout, QLabel, QMenu, QPushButton, QVBoxLayout, QWidget

from ..viewer.questions import Choice, Questions

if TYPE_CHECKING:
    pass

COLUMNS = 3


class QuestionPanel(QFrame):
    """Shows a question with a button for each answer; not there while there is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.buttons: list[QPushButton] = []
        self._grid = QGridLayout()
        self._grid.setSpacing(4)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.addWidget(self.text)
        column.addLayout(self._grid)
        self.hide()

    def show_question(self, questions: Questions | None) -> None:
        """Show the question that waits, or nothing."""
        for button in self.buttons:
            button.deleteLater()
        self.buttons = []
        question = None if questions is None else questions.current
        self.setVisible(question is not None)
        if questions is None or question is None:
            return
        self.text.setText(question.text)
        for number, choice in enumerate(question.choices):
            button = QPushButton(choice.text)
            button.setToolTip(choice.hint)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            if choice.options:
                menu = QMenu(button)
                for text, value in choice.options:
                    menu.addAction(text).triggered.connect(partial(_answer, questions, choice, (value,)))
                button.setMenu(menu)
            else:
                button.clicked.connect(partial(_answer, questions, choice, ()))
            self.buttons.append(button)
            self._grid.addWidget(button, number // COLUMNS, number % COLUMNS)


def _answer(questions: Questions, choice: Choice, value: tuple[object, ...], _checked: bool = False) -> None:
    questions.answer(choice, *value)
