"""The Annotate dock."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QMainWindow, QPushButton, QWidget

from ..common.base_dock import Dock, group
from ..common.status_line import StatusLine
from .class_actions import ClassActions
from .class_list import ClassListWidget
from .help_overlay import HelpOverlay
from .mask_rules import RulesForm
from .mode_buttons import ModeButtons
from .model_form import ChoicesForm
from .question_panel import QuestionPanel
from .tool_buttons import TOOLS, ToolButtons

if TYPE_CHECKING:
    from ..viewer.annotator import Annotator
    from ..viewer.key_settings import KeyChoice
    from ..viewer.mouse import Mode
    from ..viewer.object_tools import Tool
    from ..viewer.viewer_state import ViewerState

ACTIONS = ("next_candidate", "commit", "clear", "undo", "redo")
"""What the buttons below the candidate do, by `Key.name`."""
WELCOME = (
    "Open an image: it is picked up by itself and prepared in the background; you can look around meanwhile."
)


class AnnotateDock(Dock):
    """Everything for annotating by prompts and brush: image, model, classes, mouse, candidates, objects, undo.

    The dock is thin: it shows what the viewer state holds and passes on what the user wishes.
    Nothing has to be saved: every commit is in the journal on disk before it is painted.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        state: Shared state; that of the viewer by default.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__(napari_viewer, state)
        self.choices = ChoicesForm()
        self.classes = ClassListWidget()
        self.rules = RulesForm()
        self.modes = ModeButtons()
        self.tools = ToolButtons()
        self.question = QuestionPanel()
        self.help: HelpOverlay | None = None
        """The sheet of keys, once it was asked for."""
        self.candidate = QLabel()
        self.next_button = self.button("Next", "Show the next candidate: whole, part, smaller part")
        self.commit_button = self.button("Commit", "Add the candidate to the chosen class")
        self.clear_button = self.button("Clear", "Drop the prompt")
        self.undo_button = self.button("Undo", "Take the last step back")
        self.redo_button = self.button("Redo", "Make the step again that was taken back")
        self.help_button = self.button("Keys", "Show all keys over the image")
        self.status = StatusLine(self.state.runner, WELCOME)
        self._shown: Annotator | None = None
        self._ruled = False
        """True once the rules shown are those of a session."""
        self._class_actions = ClassActions(self.state, self.classes, self.refresh)
        self._arrange()
        self._connect()
        self.state.start()
        self.refresh()

    def refresh(self) -> None:
        """Show how things stand."""
        state, annotator = self.state, self.state.annotator
        self.choices.show_images(state.images(), state.image)
        self.choices.show_catalogue(state.catalogue, state.choice)
        # Each change, also there and back, has the whole window painted again, and that while a prompt is decoded.
        several = self.next_button, self.commit_button
        for widget in (self.classes, self.rules, self.modes, self.tools, self.help_button, *self._buttons()):
            if widget not in several:
                widget.setEnabled(annotator is not None)
        self.commit_button.setEnabled(
            annotator is not None and annotator.session.prompts.candidate is not None
        )
        self.next_button.setEnabled(annotator is not None and len(annotator.session.prompts.candidates) > 1)
        self.candidate.setText(_describe_candidate(annotator))
        self._follow(annotator)
        if annotator is None:
            return
        session = annotator.session
        if not self.classes.is_shown(tuple(session.classes), session.active_class):
            self.classes.show_classes(tuple(session.classes), session.active_class)
        self.rules.show_rules(session.mask_mode, session.overlap)
        self.modes.show_mode(annotator.mode)
        self.modes.show_preview(annotator.preview.on)

    def _follow(self, annotator: Annotator | None) -> None:
        """Take over the tools of another session; it gets the rules that the user chose for the one before."""
        if annotator is self._shown:
            return
        self._shown = annotator
        self._show_question()
        if self.help is not None:
            self.help.hide()
        if annotator is None:
            return
        if self._ruled:
            annotator.session.mask_mode, annotator.session.overlap = self.rules.value()
        self._ruled = True
        annotator.tools.distance_px = self.tools.reach.value()
        annotator.tools.changed.connect(self._show_tools)
        annotator.questions.changed.connect(self._show_question)
        annotator.tools.help_requested.connect(self._show_help)
        self._show_keys(annotator.key_choice)
        self._show_tools()
        for problem in annotator.key_choice.problems[:1]:
            self.status.say(f"keys.json: {problem}")

    def _show_keys(self, keys: KeyChoice) -> None:
        """Say which keys do the same: the user may have chosen others."""
        self.tools.show_keys(keys)
        self.help_button.setText(f"Keys ({keys.shown('show_help')})")
        hinted = zip((*self._buttons(), self.modes.preview), (*ACTIONS, "toggle_preview"), strict=True)
        for widget, name in hinted:
            widget.setToolTip(f"{widget.toolTip().split(' (')[0]} ({keys.shown(name)})")

    def _buttons(self) -> tuple[QPushButton, ...]:
        return self.next_button, self.commit_button, self.clear_button, self.undo_button, self.redo_button

    def _arrange(self) -> None:
        self.column.addWidget(self.choices)
        self.column.addWidget(group("Classes", self.classes, self.rules))
        self.column.addWidget(group("Mouse", self.modes))
        candidate = QHBoxLayout()
        candidate.addWidget(self.candidate, 1)
        candidate.addWidget(self.next_button)
        self.column.addLayout(candidate)
        row = QHBoxLayout()
        row.setSpacing(4)
        for button in self._buttons()[1:]:
            row.addWidget(button)
        row.addWidget(self.help_button)
        self.column.addLayout(row)
        self.column.addWidget(self.question)
        self.column.addWidget(self.status)
        self.column.addWidget(group("Change an object: choose, then click it", self.tools))
        self.column.addStretch(1)

    def _connect(self) -> None:
        state = self.state
        state.changed.connect(self.refresh)
        state.message.connect(self.status.say)
        self.choices.image_chosen.connect(state.choose_image)
        self.choices.model_chosen.connect(state.choose_model)
        self.rules.mode_chosen.connect(partial(self._on_rule, "mask_mode"))
        self.rules.overlap_chosen.connect(partial(self._on_rule, "overlap"))
        self.modes.chosen.connect(self._on_mode)
        self.modes.scribble_width_chosen.connect(self._on_scribble_width)
        self.modes.preview_chosen.connect(self._on_preview)
        self.tools.chosen.connect(self._on_tool)
        self.tools.reach_chosen.connect(self._on_reach)
        self.help_button.clicked.connect(lambda: self._show_help())
        for button, name in zip(self._buttons(), ACTIONS, strict=True):
            button.clicked.connect(partial(self._tell, name))

    def _tell(self, name: str, _checked: bool = False) -> None:
        if self.state.annotator is not None:
            getattr(self.state.annotator, name)()

    def _on_rule(self, name: str, value: str) -> None:
        if self.state.session is not None:
            setattr(self.state.session, name, value)

    def _on_mode(self, mode: Mode) -> None:
        if self.state.annotator is not None:
            self.state.annotator.tools.disarm()
            self.state.annotator.mode = mode

    def _on_preview(self, on: bool) -> None:
        if self.state.annotator is not None:
            self.state.annotator.preview.on = on

    def _on_scribble_width(self, width_px: int) -> None:
        if self.state.annotator is not None:
            self.state.annotator.input.brush_px = width_px

    def _on_tool(self, tool: Tool) -> None:
        if self.state.annotator is not None:
            tools = self.state.annotator.tools
            tools.arm(tool)
            self._show_tools()
            if tools.armed is not None:
                leave = self.state.annotator.key_choice.shown("clear")
                self.status.say(f"{TOOLS[tool][1]}. {leave} gives the mouse back.")

    def _on_reach(self, reach_px: int) -> None:
        if self.state.annotator is not None:
            self.state.annotator.tools.distance_px = reach_px

    def _show_tools(self) -> None:
        if self.state.annotator is not None:
            tools = self.state.annotator.tools
            self.tools.show_state(tools.armed, tools.distance_px)

    def _show_question(self) -> None:
        annotator = self.state.annotator
        self.question.show_question(None if annotator is None else annotator.questions)
        # A question takes the place of the message, so that all stays in view.
        self.status.message.setVisible(self.question.isHidden())

    def _show_help(self) -> None:
        annotator = self.state.annotator
        over = _canvas_around(self)
        if annotator is None or over is None:
            return
        if self.help is None:
            self.help = HelpOverlay(over)
            self.destroyed.connect(self.help.deleteLater)
        self.help.toggle(annotator.key_choice)


def _describe_candidate(annotator: Annotator | None) -> str:
    """Say which candidate is shown and how sure the model is."""
    candidate = None if annotator is None else annotator.session.prompts.candidate
    if annotator is None or candidate is None:
        return "No candidate yet"
    if candidate.members:
        return f"{len(candidate.members)} objects, lowest predicted IoU {candidate.score:.2f}"
    candidates = list(annotator.session.prompts.candidates)
    place = candidates.index(candidate) + 1
    if candidate.box is None:
        return f"Candidate {place} of {len(candidates)} is empty"
    return f"Candidate {place} of {len(candidates)}, predicted IoU {candidate.score:.2f}"


def _canvas_around(dock: QWidget) -> QWidget | None:
    """Return the middle of the window that a dock belongs to, floating or not."""
    window = dock.parentWidget()
    while window is not None and not isinstance(window, QMainWindow):
        window = window.parentWidget()
    return None if window is None else window.centralWidget()
