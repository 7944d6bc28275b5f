"""Apply the requests of the class list to the session; ask before deleting a class that has objects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qtpy.QtCore import QObject

from ...annotations import ClassList
from ...files.messages import plural
from ..viewer.questions import Choice, Question
from ..viewer.viewer_state import ViewerState
from .class_list import ClassListWidget


class ClassActions(QObject):
    """Applies the requests of a `ClassListWidget` to the session."""

    def __init__(self, state: ViewerState, widget: ClassListWidget, refresh: Callable[[], None]) -> None:
        super().__init__(widget)
        self._state = state
        self._widget = widget
        self._refresh = refresh
        widget.class_selected.connect(self._activate)
        widget.add_requested.connect(self._on_add)
        widget.rename_requested.connect(
            lambda id_, name: self._edit(lambda classes: classes.rename(id_, name))
        )
        widget.recolor_requested.connect(
            lambda id_, rgb: self._edit(lambda classes: classes.recolor(id_, rgb))
        )
        widget.move_requested.connect(lambda id_, index: self._edit(lambda classes: classes.move(id_, index)))
        widget.merge_requested.connect(self._on_merge)
        widget.delete_requested.connect(self._on_delete)

    def _edit(self, change: Callable[[ClassList], object]) -> None:
        annotator = self._state.annotator
        if annotator is not None:
            annotator.attempt(lambda: change(annotator.session.classes))
            self._refresh()

    def _activate(self, class_id: int) -> None:
        if self._state.annotator is not None:
            self._state.annotator.activate(class_id)

    def _on_add(self) -> None:
        session = self._state.session
        if session is None:
            return
        number = len(session.classes) + 1
        while session.classes.find(f"Class {number}") is not None:
            number += 1
        self._edit(lambda classes: classes.add(f"Class {number}"))
        added = session.classes.find(f"Class {number}")
        if added is not None:
            self._activate(added.id)
            self._widget.edit(added.id)

    def _on_merge(self, class_id: int, target_id: int) -> None:
        annotator = self._state.annotator
        if annotator is None:
            return
        classes, tools = annotator.session.classes, annotator.session.class_tools
        source, target = classes.by_id(class_id).name, classes.by_id(target_id).name
        count = len(tools.use(class_id).ids)
        if annotator.attempt(lambda: tools.merge(class_id, target_id)):
            annotator.activate(target_id)
            annotator.message.emit(
                f"Moved {plural(count, 'object')} from '{source}' to '{target}'; Undo moves them back."
            )

    def _on_delete(self, class_id: int) -> None:
        """Delete a class without objects; otherwise ask what to do with its objects."""
        annotator = self._state.annotator
        if annotator is None:
            return
        classes, tools = annotator.session.classes, annotator.session.class_tools
        use = tools.use(class_id)
        delete = partial(annotator.attempt, lambda: tools.delete(class_id))
        if not use.ids:
            delete()
            return
        name, count = classes.by_id(class_id).name, len(use.ids)
        others = tuple((info.name, info.id) for info in classes if info.id != class_id)
        annotator.questions.ask(
            Question(
                f"'{name}' has {plural(count, 'object')} with {use.area_px:,} px. "
                f"Delete the class and its object{'s' if count > 1 else ''}?",
                (
                    Choice(f"Delete {'all' if count > 1 else 'both'}", "Undo restores everything.", delete),
                    Choice(
                        "Change class to",
                        "Keep the objects and move them to another class.",
                        partial(self._on_merge, class_id),
                        others,
                    ),
                    Choice("Cancel", "Keep the class."),
                ),
            )
        )
