"""The header of the panel: image in use, project, model, saved changes and running work."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QInputDialog, QProgressBar, QStackedLayout, QWidget

from ...rasters.pixel_size import MPP_RANGE
from ..canvas.pixel_size import mpp_of
from ..common.controls import button, column, elided_label, label, plain_tooltip, row
from ..common.status_line import describe
from ..viewer.viewer_state import ViewerState

if TYPE_CHECKING:
    from ...session import Session

BAR_PX = 70
PIXEL_SIZE_HINT = "Enter or correct the micrometres per pixel of the image"
PIXEL_SIZE_QUESTION = "Micrometres per pixel (a scan at 40x has about 0.25, at 20x about 0.5):"


class PanelHeader(QWidget):
    """Always shows the image in use, the project, the model, when annotations were saved, and running work."""

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self._state = state
        self._session: Session | None = None
        self._saved = ""
        membership = state.training.membership
        self.image = elided_label()
        self.saved = label()
        self.magnification = label()
        self.pixel_size_button = button("Pixel size…", PIXEL_SIZE_HINT, self._ask_pixel_size)
        self.project = elided_label()
        self.put_in_button = button(
            "Add", "Add the image in use to the project and its training set", membership.put_in
        )
        self.training_button = button(
            "Training",
            "Train heads on this image; click again to remove it from the training set",
            checkable=True,
        )
        self.training_button.clicked.connect(membership.set_training)
        self.model = elided_label()
        self.doing = elided_label()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress")
        self.bar.setFixedWidth(BAR_PX)
        self.bar.setMaximumHeight(12)
        self.cancel_button = button("Cancel", "Cancel the running work", state.activity.cancel)
        self.help_button = button("Help", "Open the documentation of this tab in the browser")
        for widget in (
            self.pixel_size_button,
            self.put_in_button,
            self.training_button,
            self.cancel_button,
            self.help_button,
        ):
            widget.setFixedHeight(self.fontMetrics().lineSpacing() + 4)
            widget.setStyleSheet("padding: 0px 6px;")  # napari's padding would cut the text off.
        self._lay_out()
        for signal in (
            state.changed,
            state.image_chosen,
            state.training.project_changed,
            state.training.changed,
        ):
            signal.connect(self.refresh)
        state.activity.changed.connect(self._show_work)
        # A Qt signal, which ends with the panel; the session lives longer.
        state.training.edited.connect(self._on_saved)
        state.orientation.changed.connect(self._show_magnification)
        self.refresh()
        self._show_work()

    def _lay_out(self) -> None:
        idle, busy = QWidget(), QWidget()
        idle.setLayout(row(self.model, self.help_button, stretch=0))
        busy.setLayout(row(self.doing, self.bar, self.cancel_button, stretch=0))
        self.work = QStackedLayout()
        self.work.addWidget(idle)
        self.work.addWidget(busy)
        layout = column(
            row(self.image, self.magnification, self.pixel_size_button, self.saved, stretch=0),
            row(self.project, self.put_in_button, self.training_button, stretch=0),
            self.work,
            parent=self,
        )
        layout.setContentsMargins(8, 2, 8, 0)
        layout.setSpacing(1)

    def refresh(self) -> None:
        """Show the current state."""
        state = self._state
        self._follow(state.session)
        self._show_magnification()
        name = "No image is open" if state.image is None else state.image.name
        self.image.setText(" ".join(name.split()))  # A name may contain line breaks.
        self.image.setToolTip(
            plain_tooltip(f"Image in use: {name}" if state.image is not None else "Open an image")
        )
        self.saved.setText(self._saved)
        self._show_project()
        text = state.activity.failure or f"Model: {_describe_model(state)}"
        self.model.setText(text)
        self.model.setToolTip(plain_tooltip(text))

    def _show_magnification(self) -> None:
        orientation = self._state.orientation
        if self.magnification.text() != orientation.text:
            self.magnification.setText(orientation.text)
            self.magnification.setToolTip(plain_tooltip(orientation.hint))
        image, session = self._state.image, self._state.session
        is_stated = image is None or session is None or mpp_of(image) is not None
        self.pixel_size_button.setVisible(not is_stated)
        # The button takes the place of the label until a size is known, and then leaves room for the name of the image.
        is_known = is_stated or (session is not None and session.files.mpp is not None)
        self.magnification.setVisible(is_known)
        self.pixel_size_button.setText("…" if is_known else "Pixel size…")

    def _ask_pixel_size(self) -> None:
        session = self._state.session
        if session is None:
            return
        mpp, is_accepted = QInputDialog.getDouble(
            self, "Pixel size", PIXEL_SIZE_QUESTION, session.files.mpp or 0.5, *MPP_RANGE, 4
        )
        if is_accepted:
            self.use_pixel_size(mpp)

    def use_pixel_size(self, mpp: float) -> None:
        """Use and save micrometres per pixel of the image in use, for lengths and for heads on a slide."""
        state, session = self._state, self._state.session
        if session is None:
            return
        from ...session import journal_path
        from ...session.journals import save_stated_mpp

        session.files.use_mpp(mpp)
        state.attempt(lambda: save_stated_mpp(journal_path(session.image, state.sessions_dir), mpp))
        state.orientation.follow(state.image, mpp)
        state.changed.emit()

    def _show_project(self) -> None:
        training = self._state.training
        project, image = training.project, training.membership.image
        if project is None:
            text = "Not in a project"
        elif image is None:
            text = f"Not in '{project.name}'" if self._session is not None else f"Project: {project.name}"
        else:
            role = "in the training set" if image.training else "not in the training set"
            text = f"{project.name}: {role}"
        self.project.setText(text)
        hint = "Annotations are saved in the journal of the image; nothing is copied"
        self.project.setToolTip(hint if project is None else plain_tooltip(str(project.path)))
        busy = training.membership.runner.busy
        self.put_in_button.setVisible(project is not None and image is None and self._session is not None)
        self.put_in_button.setEnabled(not busy)
        self.training_button.setVisible(image is not None)
        self.training_button.setChecked(image is not None and image.training)
        self.training_button.setEnabled(not busy)

    def _show_work(self) -> None:
        activity = self._state.activity
        self.work.setCurrentIndex(int(bool(activity.doing)))
        if not activity.doing:
            self.refresh()
            return
        progress = activity.progress
        text = "" if progress is None else describe(progress, 0.0)
        more = f" (and {activity.count - 1} more)" if activity.count > 1 else ""
        doing = text or f"{activity.doing[:1].upper()}{activity.doing[1:]} …"
        self.doing.setText(f"{doing}{more}")
        self.doing.setToolTip(plain_tooltip(f"{doing}{more}"))
        # A bar without a known end stays empty, because an animated one redraws the window all the time.
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(1000 * progress.fraction) if progress is not None else 0)

    def _follow(self, session: Session | None) -> None:
        if session is self._session:
            return
        self._session = session
        self._saved = ""
        if session is not None:
            self._saved = "nothing to save yet" if session.untouched else "saved"

    def _on_saved(self) -> None:
        self._saved = f"saved {datetime.now():%H:%M}"
        self.saved.setText(self._saved)


def _describe_model(state: ViewerState) -> str:
    if state.model is None:
        return f"{state.choice.name}, not loaded yet"
    if state.image is None:
        return f"{state.model.name}, loaded"
    return f"{state.model.name}, ready" if state.ready else f"{state.model.name}, preparing the image"
