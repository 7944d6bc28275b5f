"""Controls for the role of the current image in the project: membership, training set and training region."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QMenu, QWidget

from ..canvas.viewport import box_in_view
from ..common.controls import button, check_box, column, elided_label, label, row, set_checked
from ..viewer.viewer_state import ViewerState

if TYPE_CHECKING:
    from ...session.project.content import ProjectImage

TRAINING_HINT = "Train heads on the verified area of this image; a copy of the image is kept in the project"
NO_IMAGE = "No image is open."


class ImageForm(QWidget):
    """Shows whether the image in use is in the project, and adds or removes it.

    Args:
        state: The viewer state.
        on_open: Called to open another image.
    """

    def __init__(self, state: ViewerState, on_open: Callable[[], object]) -> None:
        super().__init__()
        self._state = state
        membership = state.training.membership
        self.name = elided_label()
        self.open_button = button("Open image…", "Open an image file; 'Add' adds it to the project", on_open)
        self.text = label(wrap=True)
        self.put_in_button = button(
            "Add", "Add the image in use to the project; its file stays where it is", membership.put_in
        )
        self.copy_button = button(
            "Add a copy",
            "Add the image in use to the project with a copy of its file",
            lambda: membership.put_in(copy=True),
        )
        self.take_out_button = button(
            "Remove", "Remove the image from the project; its annotations are kept", membership.take_out
        )
        self.training = check_box("In the training set", TRAINING_HINT)
        self.training.clicked.connect(membership.set_training)
        self.region_button = button("Region", "Choose which part of the image heads are trained on")
        self.region_menu = QMenu(self.region_button)
        self.region_menu.addAction("Only the region in view", self._restrict_to_view)
        self.region_menu.addAction("The whole image", lambda: membership.restrict(None))
        self.region_button.setMenu(self.region_menu)
        column(
            row(self.name, self.open_button, stretch=0),
            self.text,
            row(
                self.put_in_button, self.copy_button, self.training, self.region_button, self.take_out_button
            ),
            parent=self,
        )

    def refresh(self) -> None:
        """Show the image in use."""
        state, image = self._state, self._state.training.membership.image
        project = state.training.project
        self.name.setText("" if state.image is None else state.image.name)
        self.text.setText(
            _describe(image, state.image is not None, None if project is None else project.name)
        )
        self.open_button.setVisible(project is not None)
        is_in, can_put_in = image is not None, project is not None and state.session is not None
        busy = state.training.membership.runner.busy
        for widget in (self.put_in_button, self.copy_button):
            widget.setVisible(not is_in)
            widget.setEnabled(can_put_in and not busy)
        self.copy_button.setEnabled(can_put_in and not busy and state.training.membership.file is not None)
        for widget in (self.take_out_button, self.training, self.region_button):
            widget.setVisible(is_in)
            widget.setEnabled(not busy)
        set_checked(self.training, image is not None and image.training)
        self.region_button.setEnabled(image is not None and image.training and not busy)

    def _restrict_to_view(self) -> None:
        state = self._state
        if state.image is not None and state.session is not None:
            state.training.membership.restrict(box_in_view(state.viewer, state.image, state.session.hw))


def _describe(image: ProjectImage | None, opened: bool, project: str | None) -> str:
    if not opened:
        return NO_IMAGE
    if project is None:
        return "Not in a project: annotations are saved in the journal of the image, and nothing is copied."
    if image is None:
        return f"Not in '{project}'."
    name = f"In '{project}' as '{image.name}'"
    if not image.training:
        return f"{name}, not in the training set."
    if not image.regions:
        return f"{name}, in the training set."
    r0, c0, r1, c1 = image.regions[0]
    return f"{name}, in the training set with a region of {c1 - c0} x {r1 - r0} px."
