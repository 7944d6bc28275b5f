"""What the list of classes wishes, applied to its session; deleting asks first."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from ..viewer.questions import Choice, Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...annotations import ClassList
    from ..viewer.viewer_state import ViewerState
    from .class_list import ClassListWidget


class ClassActions(QObject):
    """Carries out the wishes of a `ClassListWidget`.

    Args:
        state: The viewer state whose session is changed.
        widget: The list.
        refresh: Shows how things stand.
    """

    def __init__(self, state: ViewerState, widget: ClassListWidget, refresh: Callable[[], None]) -> None:
        super().__init__(widget)
        self._state = state
        self._widget = widget
        self._refresh = refresh
        widget.activated.connect(self._on_class)
        widget.added.connect(self._on_add)
        widget.renamed.connect(lambda one, name: self._edit(lambda classes: classes.rename(one, name)))
        widget.recolored.connect(lambda one, rgb: self._edit(lambda classes: classes.recolor(one, rgb)))
        widget.moved.connect(lambda one, place: self._edit(lambda classes: classes.move(one, place)))
        widget.merged.connect(self._on_merge)
        widget.removed.connect(self._on_remove)

    def _edit(self, change: Callable[[ClassList], object]) -> None:
        annotator = self._state.annotator
        if annotator is not None:
            annotator.attempt(lambda: change(annotator.session.classes))
            self._refresh()

    def _on_class(self, class_id: int) -> None:
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
            self._on_class(added.id)
            self._widget.edit(added.id)

    def _on_merge(self, class_id: int, into: int) -> None:
        annotator = self._state.annotator
        if annotator is None:
            return
        classes, tools = annotator.session.classes, annotator.session.class_tools
        gone, target = classes.by_id(class_id).name, classes.by_id(into).name
        count = len(tools.use(class_id).ids)
        if annotator.attempt(lambda: tools.merge(class_id, into)):
            annotator.activate(into)
            annotator.message.emit(f"{count} objects of '{gone}' are '{target}' now; undo takes it back.")

    def _on_remove(self, class_id: int) -> None:
        """Delete a class that nothing has; ask what to do with the objects of any other."""
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
                f"{count} object{'s' if count > 1 else ''} with {use.area_px:,} px "
                f"{'are' if count > 1 else 'is'} '{name}'. Delete the class and what has it?",
                (
                    Choice(f"Delete {'all' if count > 1 else 'both'}", "Undo brings everything back", delete),
                    Choice(
                        "Reclass to",
                        "Keep the objects, as another class",
                        partial(self._on_merge, class_id),
                        others,
                    ),
                    Choice("Cancel", "Leave the class as it is"),
                ),
            )
        )
