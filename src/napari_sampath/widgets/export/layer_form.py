"""Objects from Labels and Shapes layers that do not belong to a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Labels, Layer
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QWidget

from ...annotations import AnnotatedObject
from ...errors import SampathError
from ...files.messages import plural
from ...jobs import Job
from ...session.proposals.refining import Refinement, RefineSettings
from ..common.apply_queue import ApplyQueue
from ..common.controls import button, column, combo_box, form, row, set_items
from ..common.settings_form import SettingsForm
from ..viewer.viewer_state import ViewerState
from .foreign_layers import foreign_layers, objects_of_layer
from .jobs import refine_objects_job

VALUES = (
    ("Automatic", "auto", "A single value is a class, several values are objects"),
    ("Each value is an object", "objects", "Values are numbers of objects, as of Cellpose or StarDist"),
    ("All values are one class", "class", "Each connected component is an object"),
)


class LayerForm(QWidget):
    """Adds the objects of a layer to the image in use, and refines them with the model.

    Args:
        state: The viewer state.
        apply_queue: Applies the changes.
        start: Function that starts a job; arguments: the job, its description, and the receiver of its result.
    """

    message = Signal(str)
    """Message for the user."""

    def __init__(
        self,
        state: ViewerState,
        apply_queue: ApplyQueue,
        start: Callable[[Job[Any], str, Callable[[Any], object]], object],
    ) -> None:
        super().__init__()
        self._state, self._queue, self._start = state, apply_queue, start
        self._busy = False
        self._added: tuple[Any, tuple[int, ...]] = (None, ())
        self.layer = combo_box("Labels or Shapes layer whose objects are added")
        self.class_name = combo_box("Class of the objects; type a name for a new class")
        self.class_name.setEditable(True)
        self.class_name.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.values = combo_box("What the values of a Labels layer are")
        set_items(self.values, VALUES)
        self.add_button = button("Add objects", "Add the objects of the layer, as one undo step", self.add)
        self.refine_button = button(
            "Refine objects",
            "Use each added object as a mask prompt; objects that are good or would change too much are not changed",
            self.refine,
        )
        self.limits: SettingsForm[RefineSettings] = SettingsForm(RefineSettings())
        self.limits.hide()
        self.limits_button = button(
            "Limits", "Which objects count as good, and how much the others may change", checkable=True
        )
        self.limits_button.toggled.connect(self.limits.setVisible)
        column(
            form(("Layer", self.layer), ("Class", self.class_name), ("Values", self.values)),
            row(self.add_button, self.refine_button, self.limits_button),
            self.limits,
            parent=self,
        )
        self.refresh()

    def refresh(self, busy: bool = False) -> None:
        """Show the current state; while the dock is busy, nothing can be added."""
        self._busy = busy
        self._refresh_layers()
        session = self._state.session
        names = [] if session is None else [info.name for info in session.classes]
        text = self.class_name.currentText()
        before = {self.class_name.itemText(index) for index in range(self.class_name.count())}
        if text in before - set(names):  # The class was renamed or deleted, or is one of another image.
            text = ""
        with QSignalBlocker(self.class_name):
            self.class_name.clear()
            self.class_name.addItems(names)
            active = "" if session is None or not names else session.classes.by_id(session.active_class).name
            self.class_name.setCurrentText(text or active)

    def add(self) -> None:
        """Add the objects of the selected layer."""
        session, image, layer = self._state.session, self._state.image, self.layer.currentData()
        name = self.class_name.currentText().strip()
        if session is None or image is None or layer is None:
            return
        if not name:
            self.message.emit("The objects have no class; choose a class, or type the name of a new one.")
            return
        try:
            info = session.files.class_of(name)
            new = objects_of_layer(layer, image, session.hw, info, self.values.currentData())
        except SampathError as error:
            self.message.emit(str(error))
            return
        notes = session.files.import_notes(new)

        def on_done(objects: list[AnnotatedObject]) -> None:
            self._added = session, tuple(obj.id for obj in objects)
            layer.visible = False
            text = f"Added {plural(len(objects), 'object')} of '{name}' from '{layer.name}', which is hidden now."
            self.message.emit(" ".join([text, "Undo removes them.", *notes]))
            self._refresh_layers()

        self._queue.add(session, session.files.import_change(new), on_done)

    def refine(self) -> None:
        """Refine the objects that were added last, or else all imported ones."""
        session = self._state.session
        if session is None:
            return
        ids = self._ids()
        if not ids:
            self.message.emit(
                "The image has no imported objects; add the objects of a layer or a file first."
            )
            return
        try:
            job = session.proposals.refine_job(ids, self.limits.value())
        except SampathError as error:
            self.message.emit(str(error))
            return

        def on_refined(refinement: Refinement) -> None:
            text = refinement.sentence()
            if not refinement.masks:
                self.message.emit(text)
                return
            change = session.proposals.refine_change(refinement)
            self._queue.add(
                session, change, lambda _objects: self.message.emit(f"{text} Undo restores them.")
            )

        self._start(refine_objects_job(job), "refining the objects", on_refined)

    def _ids(self) -> tuple[int, ...]:
        session = self._state.session
        if session is None:
            return ()
        owner, ids = self._added
        present = tuple(number for number in ids if number in session.document.objects)
        if owner is session and present:
            return present
        return tuple(obj.id for obj in session.document.objects.values() if obj.source == "import")

    def _refresh_layers(self) -> None:
        selected = self.layer.currentData()
        layers: list[Layer] = foreign_layers(self._state.viewer)
        items = [(layer.name, layer) for layer in layers]
        set_items(self.layer, items or [("No Labels or Shapes layer is open", None)], selected)
        ready = self._state.session is not None and not self._busy
        self.add_button.setEnabled(ready and bool(layers))
        self.values.setEnabled(isinstance(self.layer.currentData(), Labels))
        self.refine_button.setEnabled(ready)
