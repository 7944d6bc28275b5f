"""Controls of *Find similar*: where to search, the button, and the similarity from which objects are proposed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSlider, QWidget

from ...annotations import AnnotatedObject, Box
from ...files.messages import plural
from ..background.native_libraries import import_triton_isolated
from ..background.workers import JobRunner
from ..canvas.shown_image import source_file
from ..canvas.viewport import box_in_view
from ..common.apply_queue import ApplyQueue
from ..common.controls import button, combo_box, label, row, set_items
from ..common.script_view import Script, script_button
from ..viewer.viewer_state import ViewerState
from .script import similar_script

if TYPE_CHECKING:
    from ...jobs import Job
    from ...predict.similar.selection import SimilarResult
    from ...session import Session

REGIONS = (("the view", "view"), ("the box prompt", "box"), ("the whole image", "image"))
HINT = (
    "Propose all objects that look like the one under the mouse, or like your objects of the selected class"
)
SLIDER_HINT = (
    "Minimum similarity of proposed objects; moving the slider needs no new search, and objects that look like "
    "proposals that you deleted are left out"
)
PERCENT = 65


class SimilarForm(QWidget):
    """Searches for objects like those of a class and proposes them.

    Args:
        state: The viewer state.
        say: Shows a message to the user.
    """

    def __init__(self, state: ViewerState, say: Callable[[str], object]) -> None:
        super().__init__()
        self._state, self._say = state, say
        self.runner = JobRunner(self)
        self.apply_queue = ApplyQueue(state, self)
        self._searched: Session | None = None
        """Session of the last search."""
        self.find_button = button("Find similar", HINT, self.find)
        self.region = combo_box("The part of the image to search")
        set_items(self.region, REGIONS)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, 100)
        self.slider.setValue(PERCENT)
        self.slider.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.slider.setToolTip(SLIDER_HINT)
        self.slider.setAccessibleName("Minimum similarity")
        self.slider.valueChanged.connect(self._on_slider)
        self.slider.sliderReleased.connect(self._propose)
        self.percent = label(f"{PERCENT} %")
        self.script_button = script_button(self, self.script, say)
        self.script_button.setText("…")
        self.script_button.setMaximumWidth(28)
        parts = (self.find_button, self.region, self.slider, self.percent, self.script_button)
        self.setLayout(row(*parts, stretch=2))
        self.runner.started.connect(self.refresh)
        self.runner.finished.connect(self.refresh)
        self.runner.failed.connect(say)
        self.apply_queue.message.connect(say)
        self.apply_queue.changed.connect(self.refresh)

    def refresh(self) -> None:
        """Enable the controls that can be used now."""
        session = self._state.session
        self.find_button.setEnabled(session is not None and self._state.ready and not self._busy)
        self.slider.setEnabled(session is not None and session is self._searched and not self._busy)

    def show_key(self, key: str) -> None:
        """Show the shortcut in the tooltip of the button."""
        self.find_button.setToolTip(f"{HINT} ({key})")

    def find(self, object_id: int = 0) -> None:
        """Search for objects like an object of the session and the others of its class.

        Args:
            object_id: Id of the object; 0 starts from the objects of the selected class.
        """
        session = self._state.session
        if session is None or self._busy:
            return
        record = session.document.objects.get(object_id)
        class_id = session.active_class if record is None else record.class_id
        region = self._selected_region(session)
        ids = session.proposals.similar.exemplars(class_id)
        if record is not None and object_id not in ids:
            ids.append(object_id)
        if region is None:
            self._say("The region is empty; draw a box on the image, or search the whole image.")
            return
        jobs: list[Job[SimilarResult]] = []
        search = session.proposals.similar
        if self._state.attempt(lambda: jobs.append(search.job(class_id, ids or None, region)), self._say):

            def on_found(result: SimilarResult) -> None:
                if self._state.session is session:
                    search.use(result, class_id, region)
                    self._searched = session
                    self._propose()

            self.runner.start(_isolated(jobs[0]), "finding similar objects", on_found)

    def script(self) -> Script | str:
        """Return the search of the settings shown as a script, or a sentence that explains why not."""
        from ...session import journal_path

        state, session, image = self._state, self._state.session, self._state.image
        file = None if image is None else source_file(image)
        if session is None or file is None:
            return "The image has no file that a script could read; open an image from a file."
        ids, region = (
            session.proposals.similar.exemplars(session.active_class),
            self._selected_region(session),
        )
        if not ids or region is None:
            return "Commit an object of the selected class, and select a region that is not empty."
        objects = [(number, session.document.record(number).box) for number in ids]
        part = None if region == (0, 0, *session.hw) else region
        journal = journal_path(session.image, state.sessions_dir)
        return similar_script(file, journal, objects, part, self.slider.value() / 100, state.choice)

    @property
    def _busy(self) -> bool:
        return self.runner.busy or self.apply_queue.busy

    def _selected_region(self, session: Session) -> Box | None:
        image, name = self._state.image, self.region.currentData()
        box: Box = (0, 0, *session.hw)
        if name == "view" and image is not None:
            box = box_in_view(self._state.viewer, image, session.hw)
        elif name == "box":
            prompt = session.prompts.state.box
            if prompt is None:
                return None
            x0, y0, x1, y1 = prompt
            box = int(y0), int(x0), min(session.hw[0], int(y1) + 1), min(session.hw[1], int(x1) + 1)
        return box if box[2] > box[0] and box[3] > box[1] else None

    def _on_slider(self, percent: int) -> None:
        self.percent.setText(f"{percent} %")
        if not self.slider.isSliderDown():
            self._propose()

    def _propose(self) -> None:
        """Propose the candidates above the similarity of the slider."""
        from ...predict.similar.settings import SimilarSettings

        session, percent = self._state.session, self.slider.value()
        if session is None or session is not self._searched or self.apply_queue.busy:
            return
        search = session.proposals.similar
        name = session.classes.by_id(search.class_id).name

        def on_done(objects: list[AnnotatedObject]) -> None:
            found = plural(len(objects), "similar object")
            self._say(f"Proposed {found} of class '{name}'; delete wrong ones, then move the slider.")
            if self.slider.value() != percent:  # The user moved the slider in the meantime.
                self._propose()

        settings = SimilarSettings(min_similarity=percent / 100)
        self.apply_queue.add(session, search.propose(settings), on_done)


def _isolated(job: Job[SimilarResult]) -> Job[SimilarResult]:
    import_triton_isolated()
    return (yield from job)
