"""Panel that shows a question in the dock without blocking the window."""

from __future__ import annotations

from functools import partial

from qtpy.QtWidgets import QFrame, QGridLayout, QMenu, QPushButton

from ..viewer.questions import Choice, Questions
from .controls import SPACING_PX, button, column, delete_widgets, label

COLUMNS = 3


class QuestionPanel(QFrame):
    """Shows the current question with a button for each answer; hidden while there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = label(wrap=True)
        self.buttons: list[QPushButton] = []
        self._grid = QGridLayout()
        self._grid.setSpacing(SPACING_PX)
        column(self.text, self._grid, parent=self).setContentsMargins(6, 6, 6, 6)
        self.hide()

    def show_question(self, questions: Questions | None) -> None:
        """Show the current question, if any."""
        delete_widgets(self._grid)
        self.buttons = []
        question = None if questions is None else questions.current
        self.setVisible(question is not None)
        if questions is None or question is None:
            return
        self.text.setText(question.text)
        for number, choice in enumerate(question.choices):
            if choice.options:
                widget = button(choice.text, choice.hint)
                menu = QMenu(widget)
                for text, value in choice.options:
                    menu.addAction(text).triggered.connect(partial(_answer, questions, choice, (value,)))
                widget.setMenu(menu)
            else:
                widget = button(choice.text, choice.hint, partial(questions.answer, choice))
            self.buttons.append(widget)
            self._grid.addWidget(widget, number // COLUMNS, number % COLUMNS)


def _answer(questions: Questions, choice: Choice, value: tuple[object, ...], _checked: bool = False) -> None:
    questions.answer(choice, *value)
