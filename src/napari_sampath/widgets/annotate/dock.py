"""The Annotate dock: model, classes, mouse modes, candidates, object tools, undo."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from qtpy.QtWidgets import QMainWindow, QWidget

from ..canvas.napari_internals.napari_canvas import focus_canvas
from ..common.base_dock import Dock
from ..common.controls import button, group, label, row
from ..common.image_bar import ImageBar
from ..common.question_panel import QuestionPanel
from ..common.status_line import StatusLine
from ..viewer.annotator import Annotator
from ..viewer.key_settings import KeyChoice
from ..viewer.mouse import Mode
from ..viewer.tools.object_tools import Tool
from ..viewer.viewer_state import PREPARING, READY, ViewerState
from .adaptation_form import AdaptationForm
from .class_actions import ClassActions
from .class_list import ClassListWidget
from .help_overlay import HelpOverlay
from .mask_rules import MaskRules, MaskRulesForm
from .mode_buttons import ModeButtons
from .model_form import ModelForm
from .similar import SimilarForm
from .tool_buttons import TOOLS, ToolButtons

ACTIONS = {
    "next_candidate": ("Next", "Show the next candidate: whole, part, smaller part"),
    "commit": ("Commit", "Add the candidate as an object of the selected class"),
    "clear": ("Clear", "Remove the prompt"),
    "undo": ("Undo", "Undo the last step"),
    "redo": ("Redo", "Redo the step that was undone last"),
}
"""`Key.name`, which is also the name of the method -> text and tooltip of the button."""
INPUT_ACTIONS = ("next_candidate", "commit")
"""Names in `ACTIONS` that are methods of `PromptInput`; the others are methods of `Annotator`."""
WELCOME = "Open an image; you can pan and zoom while it is encoded in the background."


class AnnotateDock(Dock):
    """Controls for annotating with prompts and the brush.

    The dock shows the viewer state and forwards the user's requests; it stores no annotations.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__(napari_viewer, state)
        self.image_bar = ImageBar(self.state)
        self.model_form = ModelForm()
        self.adaptation = AdaptationForm(self.state.training.adaptation)
        self.classes = ClassListWidget()
        self.rules = MaskRulesForm()
        self.modes = ModeButtons()
        self.tools = ToolButtons()
        self.question = QuestionPanel()
        self.help: HelpOverlay | None = None
        """The list of keys, created when it is first shown."""
        self.candidate = label()
        self.buttons = {
            name: button(text, tooltip, partial(self._run, name)) for name, (text, tooltip) in ACTIONS.items()
        }
        self.help_button = button("Keys", "Show all keys over the image", self._show_help)
        self.status = StatusLine(self.state.runner, self._idle)
        self.similar = SimilarForm(self.state, self.status.say)
        self._shown: Annotator | None = None
        self._has_rules = False
        """Whether `rules` shows the rules of a session."""
        self._class_actions = ClassActions(self.state, self.classes, self.refresh)
        self._arrange()
        self._connect()
        self.state.start()
        self.refresh()

    def refresh(self) -> None:
        """Show the current state."""
        state, annotator = self.state, self.state.annotator
        self.status.refresh()
        self.model_form.show_images(state.images(), state.image)
        self.model_form.show_catalogue(state.catalogue, state.choice)
        # Stay enabled while a prompt is decoded, because disabling and enabling a widget repaints the whole window.
        always = (self.classes, self.rules, self.modes, self.tools, self.help_button)
        for widget in (*always, *(self.buttons[name] for name in ("clear", "undo", "redo"))):
            widget.setEnabled(annotator is not None)
        session = state.session
        self.buttons["commit"].setEnabled(session is not None and session.prompts.candidate is not None)
        self.buttons["next_candidate"].setEnabled(session is not None and len(session.prompts.candidates) > 1)
        self.candidate.setText(_describe_candidate(annotator))
        self._follow(annotator)
        self.similar.refresh()
        if annotator is None or session is None:
            return
        if not self.classes.is_shown(tuple(session.classes), session.active_class):
            self.classes.show_classes(tuple(session.classes), session.active_class)
            self._show_counts()
        self.rules.setValue(MaskRules(session.mask_mode, session.overlap))
        self.modes.show_mode(annotator.mode)
        self.modes.show_preview(annotator.preview.on)
        self.modes.show_one_click(annotator.input.one_click)
        self.modes.show_fill(annotator.display.fill)

    def _follow(self, annotator: Annotator | None) -> None:
        """Connect to the tools of another session and apply the rules that the user selected before."""
        if annotator is self._shown:
            return
        self._shown = annotator
        self._show_question()
        if self.help is not None:
            self.help.hide()
        if annotator is None:
            return
        if self._has_rules:
            self._on_rules(self.rules.value())
        self._has_rules = True
        annotator.tools.distance_px = self.tools.reach.value()
        annotator.input.one_click = self.modes.one_click.isChecked()
        annotator.tools.changed.connect(self._show_tools)
        annotator.questions.changed.connect(self._show_question)
        annotator.tools.help_requested.connect(self._show_help)
        annotator.tools.similar_requested.connect(self.similar.find)
        annotator.tools.objects_changed.connect(self._show_counts)
        annotator.display.fill = self.modes.fill.value() / 100
        self._show_counts()
        annotator.keys_changed.connect(self._show_keys)
        self._show_keys(annotator.key_choice)
        self._show_tools()
        for problem in annotator.key_choice.problems[:1]:
            self.status.say(f"keys.json: {problem}")

    def _show_keys(self, keys: KeyChoice) -> None:
        """Show the shortcuts, which the user can change."""
        self.tools.show_keys(keys)
        self.modes.show_keys(keys.shown)
        self.similar.show_key(keys.shown("find_similar"))
        self.help_button.setText(f"Keys ({keys.shown('show_help')})")
        for name, widget in {
            **self.buttons,
            "toggle_preview": self.modes.preview,
            "toggle_one_click": self.modes.one_click,
            "toggle_fill": self.modes.fill,
        }.items():
            widget.setToolTip(f"{widget.toolTip().split(' (')[0]} ({keys.shown(name)})")

    def _arrange(self) -> None:
        self.model_form.device_row.addWidget(self.adaptation, 1)
        candidate = row(self.candidate, self.buttons["next_candidate"], stretch=0)
        actions = row(*list(self.buttons.values())[1:], self.help_button)
        self.fill(
            self.image_bar,
            self.model_form,
            group("Classes", self.classes, self.rules),
            group("Mouse", self.modes),
            candidate,
            actions,
            self.question,
            self.status,
            self.similar,
            group("Edit an object: select a tool, then click the object", self.tools),
        )

    def _connect(self) -> None:
        state = self.state
        state.changed.connect(self.refresh)
        state.message.connect(self.status.say)
        self.status.expire_on(state.image_chosen, state.training.edited)
        self.model_form.image_selected.connect(state.choose_image)
        self.model_form.valueChanged.connect(state.choose_model)
        self.rules.valueChanged.connect(self._on_rules)
        self.modes.mode_selected.connect(self._on_mode)
        self.modes.scribble_width_changed.connect(self._on_scribble_width)
        self.modes.preview_toggled.connect(self._on_preview)
        self.modes.one_click_toggled.connect(self._on_one_click)
        self.modes.fill_changed.connect(self._on_fill)
        self.classes.editing_finished.connect(lambda: focus_canvas(state.viewer))
        self.tools.tool_selected.connect(self._on_tool)
        self.tools.reach_changed.connect(self._on_reach)
        self.cancel_on_close(self.similar.runner, self.similar.apply_queue.runner)

    def _idle(self) -> str:
        if self.state.image is None:
            return WELCOME
        return READY if self.state.ready else PREPARING

    def _run(self, name: str) -> None:
        if self.state.annotator is not None:
            annotator = self.state.annotator
            getattr(annotator.input if name in INPUT_ACTIONS else annotator, name)()

    def _on_rules(self, rules: MaskRules) -> None:
        session = self.state.session
        if session is not None:
            session.mask_mode, session.overlap = rules.mode, rules.overlap

    def _on_mode(self, mode: Mode) -> None:
        if self.state.annotator is not None:
            self.state.annotator.choose_mode(mode)

    def _on_preview(self, on: bool) -> None:
        if self.state.annotator is not None:
            self.state.annotator.preview.on = on

    def _on_fill(self, opacity: float) -> None:
        if self.state.annotator is not None:
            self.state.annotator.display.fill = opacity

    def _on_one_click(self, on: bool) -> None:
        if self.state.annotator is not None and self.state.annotator.input.one_click != on:
            self.state.annotator.input.toggle_one_click()

    def _on_scribble_width(self, width_px: int) -> None:
        if self.state.annotator is not None:
            self.state.annotator.input.brush_px = width_px

    def _on_tool(self, tool: Tool) -> None:
        if self.state.annotator is not None:
            tools = self.state.annotator.tools
            tools.activate(tool)
            self._show_tools()
            if tools.active is not None:
                key = self.state.annotator.key_choice.shown("clear")
                self.status.say(f"{TOOLS[tool][1]}. Press {key} to return to the previous tool.")

    def _on_reach(self, reach_px: int) -> None:
        if self.state.annotator is not None:
            self.state.annotator.tools.distance_px = reach_px

    def _show_tools(self) -> None:
        if self.state.annotator is not None:
            tools = self.state.annotator.tools
            self.tools.show_state(tools.active, tools.distance_px)

    def _show_counts(self, _ids: object = None) -> None:
        """Show the number of objects of each class."""
        session = self.state.session
        if session is not None:
            counts = np.bincount(session.document.class_map.table)
            self.classes.show_counts(dict(enumerate(counts.tolist())))

    def _show_question(self) -> None:
        annotator = self.state.annotator
        self.question.show_question(None if annotator is None else annotator.questions)
        # The question replaces the message, so that the dock does not scroll.
        self.status.message.setVisible(self.question.isHidden())

    def _show_help(self) -> None:
        annotator = self.state.annotator
        canvas = _canvas_of(self)
        if annotator is None or canvas is None:
            return
        if self.help is None:
            self.help = HelpOverlay(canvas)
            self.destroyed.connect(self.help.deleteLater)
        self.help.toggle(annotator.key_choice, annotator.reload_keys)


def _describe_candidate(annotator: Annotator | None) -> str:
    candidate = None if annotator is None else annotator.session.prompts.candidate
    if annotator is None or candidate is None:
        waiting = 0 if annotator is None else len(annotator.session.waiting)
        return f"Masks being computed: {waiting}" if waiting else "No candidate yet"
    if candidate.members:
        return f"{len(candidate.members)} objects, lowest predicted IoU {candidate.score:.2f}"
    candidates = list(annotator.session.prompts.candidates)
    place = f"Candidate {candidates.index(candidate) + 1} of {len(candidates)}"
    return f"{place} is empty" if candidate.box is None else f"{place}, predicted IoU {candidate.score:.2f}"


def _canvas_of(dock: QWidget) -> QWidget | None:
    """Return the central widget of the window that a dock belongs to, floating or not."""
    window = dock.parentWidget()
    while window is not None and not isinstance(window, QMainWindow):
        window = window.parentWidget()
    return None if window is None else window.centralWidget()
