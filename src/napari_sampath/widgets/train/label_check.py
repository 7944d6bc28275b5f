"""Show labels that look wrong: a confusion matrix, and the cards of its cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QWidget

from ...errors import SampathError
from ...files.messages import plural
from ...session.project.samples import place_in_image
from ..canvas.image_opening import open_file, show_layer_of
from ..canvas.viewport import look_at
from ..common.card_list import CardList
from ..common.controls import button, column, label, row
from ..viewer.viewer_state import ViewerState
from .label_jobs import PER_CELL, LabelCheck
from .label_matrix import LabelMatrix, describe_cell

if TYPE_CHECKING:
    from pathlib import Path

    from ...annotations import Box, Step
    from ...session import Session
    from ...session.project.content import ProjectImage
    from ...training.rounds.label_ranking import LabelLoss

SURROUNDINGS = 1.5
"""Width of the surroundings of a label that are shown on each side, as a multiple of its longer side."""
SAME_PLACE = 0.5
"""Least IoU of the bounding boxes of a label and of the object that it is now."""
CARDS_HINT = (
    "Click a card to see its place in the image; A keeps the label, R deletes the object, U marks it as unsure, 1 to 9 "
    "changes its class"
)
MATRIX_TEXT = "Rows: your label; columns: what the other images suggest."
UNDO_KEY = "Ctrl+Z"


@dataclass(frozen=True)
class _Decision:
    """What the user decided about a label."""

    changed: bool = False
    """Whether the annotations were changed."""
    step: Step | None = None
    """The undo step of this change; None if the change was still waiting."""


class LabelCheckView(QWidget):
    """Shows a `LabelCheck`: cells of the confusion matrix open the cards of their labels, the most suspicious first.

    Decisions change the annotations of the open image, with undo, so a card opens its image first.
    """

    message = Signal(str)
    """Message for the user."""
    closed = Signal()
    """Emitted when the labels are not shown any more."""

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self._state = state
        self.folder: Path | None = None
        """Folder of the dataset."""
        self._check: LabelCheck | None = None
        self._decided: dict[LabelLoss, _Decision] = {}
        """Decided label -> the decision, the latest last."""
        self._wanted: tuple[str, Box] | None = None
        """Digest of the image that is being opened, and the place to show in it."""
        self.text = label(wrap=True)
        self.matrix = LabelMatrix()
        self.cards = CardList("Cards of labels that look wrong", CARDS_HINT)
        self.cards.keys = {UNDO_KEY: self.undo}
        self.all_button = button(
            "Most suspicious", "Show the most suspicious labels of all classes", self.show_all
        )
        self.close_button = button(
            "Close", "Close the list of labels and return to the training", self.close_check
        )
        buttons = row(self.all_button, self.close_button)
        column(self.text, self.matrix, self.cards, buttons, parent=self)
        self.matrix.itemSelectionChanged.connect(self._on_cell)
        self.cards.place_requested.connect(self.show_place)
        self.cards.decided.connect(self._on_decision)
        self.cards.class_chosen.connect(self._on_class)
        state.image_chosen.connect(self._on_image)
        self.hide()

    def show_check(self, folder: Path, check: LabelCheck) -> None:
        """Show the labels of the dataset in a folder."""
        self.folder = folder
        self._check, self._decided, self._wanted = check, {}, None
        self.matrix.show_counts([info.name for info in check.classes], check)
        self.show()
        self.show_all()

    def close_check(self) -> None:
        """Forget the labels."""
        self._check, self._wanted = None, None
        self.cards.clear()
        self.hide()
        self.closed.emit()

    def show_all(self) -> None:
        """Show the most suspicious labels of all classes."""
        if self._check is not None:
            with QSignalBlocker(self.matrix):
                self.matrix.clearSelection()
            self._show(
                self._check.first,
                f"The most suspicious of {plural(len(self._check.ranked), 'label')}. {MATRIX_TEXT}",
            )

    def show_place(self, entry: LabelLoss) -> bool:
        """Show the place of a label in its image; return False if the image has to be opened first."""
        self._wanted = None
        place = self._place(entry)
        project = self._state.training.project
        if project is None or place is None:
            self.message.emit(
                f"The image of '{entry.image}' is not in the project any more; check the labels again."
            )
            return False
        image, box = place
        if self._session_of(image) is not None:
            self._look_at(box)
            self.message.emit(entry.sentence)
            return True
        path = project.file_of(image)
        if path is None:
            self.message.emit(
                f"The file of '{image.name}' is missing ({image.file}); find it in the Project tab."
            )
            return False
        self._wanted = image.digest, box
        try:
            if not show_layer_of(self._state.viewer, path):
                open_file(self._state.viewer, path)
        except SampathError as error:
            self._wanted = None
            self.message.emit(str(error))
        return False

    def undo(self) -> None:
        """Take the latest decision back."""
        if not self._decided:
            return
        entry, decision = self._decided.popitem()
        if decision.changed and not self._revert(entry, decision.step):
            self._decided[entry] = decision
            return
        self._refill()
        self.message.emit(entry.sentence)

    def _revert(self, entry: LabelLoss, step: Step | None) -> bool:
        """Undo the step of a decision unless it has been undone already; return False if the decision stays."""
        shown, annotator = self._is_shown(entry), self._state.annotator
        if not shown or annotator is None:
            return False
        session = annotator.session
        if step is not None and step not in session.undoable:
            return True
        undone: list[bool] = []
        if step is not None and not annotator.attempt(lambda: undone.append(session.undo(step))):
            return False
        if any(undone):
            return True
        self.message.emit(
            f"'{entry.image}' has been changed after this decision; press Ctrl-Z in the image to undo these changes "
            "first, or correct the object there."
        )
        return False

    def _on_cell(self) -> None:
        cell = self.matrix.cell
        if self._check is not None and cell is not None:
            entries = self._check.confusion.get(cell, [])
            self._show(entries, f"{describe_cell(*cell)}: {plural(len(entries), 'label')}.")

    def _show(self, entries: list[LabelLoss], text: str) -> None:
        check = self._check
        if check is None:
            return
        self.text.setText(text)
        self.cards.clear()
        waiting = [entry for entry in entries if entry in check.pictures and entry not in self._decided]
        for entry in waiting[: 4 * PER_CELL]:
            caption = (
                "missing"
                if not entry.object
                else "outline"
                if entry.label == entry.predicted
                else entry.predicted
            )
            self.cards.insert_card(
                self.cards.count(),
                entry,
                check.pictures[entry],
                f"{caption} {entry.loss:.1f}",
                entry.sentence,
            )
        self.cards.keep_selection(0)

    def _refill(self) -> None:
        if self.matrix.cell is None:
            self.show_all()
        else:
            self._on_cell()

    def _on_decision(self, entries: tuple[LabelLoss, ...], decision: str) -> None:
        if decision == "accept":
            for entry in entries:
                self._remove(entry, _Decision())
        else:
            self._change_all(entries, decision)

    def _on_class(self, entries: tuple[LabelLoss, ...], number: int) -> None:
        self._change_all(entries, number)

    def _change_all(self, entries: tuple[LabelLoss, ...], decision: str | int) -> None:
        """Change the objects of labels, up to the first one that is in another image."""
        for entry in entries:
            if not entry.object:
                self.message.emit("There is no object here; click the card, and add the object or press A.")
            elif self._is_shown(entry):
                self._change(entry, decision)
            else:
                return

    def _is_shown(self, entry: LabelLoss) -> bool:
        """Show the place of a label, and return True if its image is open already."""
        shown = self.show_place(entry)
        if self._wanted is not None:
            self.message.emit(f"Opening the image of '{entry.image}'; press the key again when it is shown.")
        return shown

    def _change(self, entry: LabelLoss, decision: str | int) -> None:
        """Delete the object of a label, mark it as unsure, or give it the class at a position of the class list."""
        annotator = self._state.annotator
        if annotator is None:
            return
        place, session = self._place(entry), annotator.session
        number = None if place is None else _object_at(session, place[1])
        classes = list(session.classes)
        if number is None:
            self.message.emit("The object has been changed since the check; click its card, or press A.")
        elif isinstance(decision, int) and decision >= len(classes):
            self.message.emit(f"There is no class {decision + 1}; add it in the Annotate tab first.")
        else:
            action = partial(session.objects.delete, (number,))
            if decision == "unsure":
                action = partial(session.objects.flag, (number,), "unsure")
            elif isinstance(decision, int):
                action = partial(session.objects.reclassify, (number,), classes[decision].id)
            before = session.undoable
            if annotator.attempt(action):
                made_at_once = session.undoable[-1:] != before[-1:]
                self._remove(entry, _Decision(True, session.undoable[-1] if made_at_once else None))

    def _remove(self, entry: LabelLoss, decision: _Decision) -> None:
        self._decided[entry] = decision
        index = self.cards.values.index(entry)
        self.cards.takeItem(index)
        self.cards.keep_selection(index)

    def _place(self, entry: LabelLoss) -> tuple[ProjectImage, Box] | None:
        project = self._state.training.project
        return None if project is None else place_in_image(project, entry.image, entry.box)

    def _session_of(self, image: ProjectImage) -> Session | None:
        session = self._state.session
        return session if session is not None and session.digest == image.digest else None

    def _on_image(self) -> None:
        session = self._state.session
        if self._wanted is not None and session is not None and session.digest == self._wanted[0]:
            box, self._wanted = self._wanted[1], None
            self._look_at(box)

    def _look_at(self, box: Box) -> None:
        annotator = self._state.annotator
        if annotator is not None:
            margin = round(SURROUNDINGS * max(box[2] - box[0], box[3] - box[1]))
            around = box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
            look_at(annotator.viewer, annotator.image, around)
            annotator.tools.highlight.show([box])


def _object_at(session: Session, box: Box) -> int | None:
    """Return the id of the object whose bounding box is most similar to a box; None if there is none like it."""
    best, found = SAME_PLACE, None
    for record in session.document.objects.values():
        r0, c0, r1, c1 = record.box
        height, width = min(r1, box[2]) - max(r0, box[0]), min(c1, box[3]) - max(c0, box[1])
        shared = max(0, height) * max(0, width)
        union = (r1 - r0) * (c1 - c0) + (box[2] - box[0]) * (box[3] - box[1]) - shared
        if shared >= best * union:
            best, found = shared / union, record.id
    return found
