"""The Train dock: train a head on the corrected annotations while annotating continues."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from ..background.workers import JobRunner
from ..common.base_dock import Dock
from ..common.controls import button, column, label, row
from ..common.head_choice import missing_model
from ..common.script_view import Script, script_button
from ..common.settings_form import SettingsForm
from ..common.status_line import StatusLine
from ..viewer.viewer_state import ViewerState
from .checklist import Checklist
from .comparison import ComparisonView
from .curves import CurvesPlot
from .dataset_panel import DatasetPanel
from .jobs import TrainingSettings, config_of, kinds_job, summary_job, train_job
from .label_check import LabelCheckView
from .label_jobs import check_labels_job
from .script import train_script

if TYPE_CHECKING:
    from ...training.rounds.heads_in_use import HeadsInUse
    from ...training.rounds.rounds import DatasetSummary, Round, TrainingCurves
    from .label_jobs import LabelCheck

SAVING = "Images in the training set of this project are saved to it automatically."
WELCOME = "Open a project to train: heads learn from the images that you add to its training set."

LABELS_HINT = (
    "Find labels that look wrong: compare each image with what small heads learn from the other images; nothing is "
    "changed"
)
TRAIN_HINT = "Train a head on the dataset; you can continue annotating"


class TrainDock(Dock):
    """Shows the dataset, trains a head on it in the background, and accepts the head or rolls back.

    Training runs in its own thread. Annotations made in the meantime are saved to the dataset and used in the next
    training.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__(napari_viewer, state)
        self.training = self.state.training
        self.runner = JobRunner(self)
        self.dataset_runner = JobRunner(self)
        """Runner that reads the dataset without cancelling the training."""
        self.summary: DatasetSummary | None = None
        self.curves: TrainingCurves | None = None
        self.dataset = DatasetPanel()
        self.form = SettingsForm(TrainingSettings())
        self._kinds_known = False
        self.train_button = button("Train", TRAIN_HINT, self.train)
        self.labels_button = button("Check labels", LABELS_HINT, self.check_labels)
        self.labels = LabelCheckView(self.state)
        self._checks_labels = False
        """Whether the job of `runner` checks labels, and does not train."""
        self.checklist = Checklist()
        self.stop_button = button(
            "Stop and keep the best", "End the training now and keep the best epoch so far", self._stop
        )
        self._stop_event = Event()
        self._warned = False
        """Whether the user has seen `_doubt`, so that the next press of *Accept* uses the head."""
        self._doubt: str | None = None
        """Why the offered head may not be useful, if it was trained in this window."""
        self.plot = CurvesPlot()
        self.status = StatusLine(self.runner, lambda: WELCOME if self.training.project is None else SAVING)
        self.comparison = ComparisonView()
        self.head_in_use = label(wrap=True)
        self.accept_button = button(
            "Accept", "Use the new head in Auto-segment", partial(self._decide, "accept")
        )
        self.roll_back_button = button(
            "Roll back",
            "Reject the new head; if there is none, return to the previous head, or to no head",
            partial(self._decide, "roll_back"),
        )
        self.script_button = script_button(self, self.script, self.status.say)
        self.cancel_on_close(self.runner, self.dataset_runner)
        self.settings, self.results = QWidget(), QWidget()
        buttons = row(self.train_button, self.stop_button, self.labels_button, self.script_button)
        column(self.checklist, self.form, buttons, self.plot, parent=self.settings)
        decisions = row(self.accept_button, self.roll_back_button)
        column(self.comparison.verdict, self.head_in_use, decisions, self.comparison, parent=self.results)
        self.fill(self.dataset, self.labels, self.settings, self.status, self.results)
        self.column.setStretchFactor(self.labels, 100)  # It takes the free height while it is shown.
        self._connect()
        self.state.start()
        self.dataset_runner.start(kinds_job(), "listing the kinds of heads", self._on_kinds)
        self.refresh()

    def refresh(self) -> None:
        """Show the current state."""
        heads, summary = self.training.heads, self.summary
        name = "" if self.state.session is None else self.state.session.name
        grouping = None if summary is None or self.training.runner.busy else summary.slide_ends_before
        self.dataset.show_dataset(self.training.folder, summary, name, grouping)
        ready = (
            self.checklist.show_requirements(summary) if heads is not None and self._kinds_known else False
        )
        trains = self.runner.busy and not self._checks_labels
        for part in (self.dataset, self.settings, self.results):
            part.setVisible(self.labels.isHidden())
        self.checklist.setVisible(heads is not None and self._kinds_known and not self.runner.busy)
        self.train_button.setEnabled(heads is not None and ready and not self.runner.busy)
        in_use = None if heads is None or heads.current is None else str(heads.current)
        missing = missing_model(in_use, self.state.catalogue)
        self.train_button.setText("Download and train" if missing else "Train")
        self.train_button.setToolTip(
            f"The model of the head in use is not on this machine: download it ({missing}), train, and compare both"
            if missing
            else TRAIN_HINT
        )
        self.stop_button.setVisible(trains)
        self.labels_button.setVisible(not trains)
        self.labels_button.setEnabled(
            summary is not None and sum(summary.images.values()) > 1 and not self.runner.busy
        )
        self.stop_button.setEnabled(not self._stop_event.is_set())
        offered = None if heads is None else heads.offered
        previous = None if heads is None else heads.previous
        self.accept_button.setEnabled(offered is not None)
        current_head = None if heads is None else heads.current
        self.roll_back_button.setEnabled(offered is not None or current_head is not None)
        self.accept_button.setText("Accept anyway" if self._warned and offered is not None else "Accept")
        if heads is None:
            self.head_in_use.setText("")
        else:
            current = "none yet" if heads.current is None else heads.current.stem
            before = "" if previous is None else f" (previous: {previous.stem})"
            waiting = "" if offered is None else f" {offered.stem} is waiting to be accepted."
            self.head_in_use.setText(f"Head in use: {current}{before}.{waiting}")

    def update_summary(self) -> None:
        """Read the dataset again."""
        folder = self.training.folder
        # The runner would give up listing the kinds of heads, without which nothing can be trained.
        if folder is not None and self._kinds_known:
            self.dataset_runner.start(
                summary_job(folder, self.summary), "reading the dataset", self._on_summary
            )

    def choose_folder(self, folder: Path) -> None:
        """Open another project."""
        self.summary = None
        self.training.choose(folder)

    def train(self) -> None:
        """Train a head with the settings shown."""
        heads, folder = self.training.heads, self.training.folder
        if heads is None or folder is None:
            return
        from ...training.rounds.rounds import TrainingCurves  # `kinds_job` has imported torch by now.

        self._checks_labels = False
        self.curves = TrainingCurves()
        settings = self.form.value()
        self.comparison.show_comparison(None)
        self.plot.show_curves((), (), settings.epochs)
        model = self.state.model or self.state.choice.name
        self._doubt, self._warned = None, False
        self._stop_event = Event()
        job = train_job(
            self.training.save_job(), folder, heads, settings, model, self.curves, self._stop_event
        )
        self.runner.start(job, f"training {settings.kind}", partial(self._on_trained, heads))

    def check_labels(self) -> None:
        """Rank the labels of the dataset in the background, and show those that look wrong."""
        folder = self.training.folder
        if folder is None:
            return
        self._checks_labels = True
        job = check_labels_job(self.training.save_job(), folder, self.state.model or self.state.choice.name)
        self.runner.start(job, "checking the labels", partial(self._on_labels, folder))

    def script(self) -> Script | str:
        """Return the training run of the settings shown as a script, or a sentence that explains why not."""
        folder = self.training.folder
        if folder is None or not self._kinds_known:
            return WELCOME
        settings = self.form.value()
        return train_script(folder, settings.kind, config_of(settings), self.state.choice)

    def _connect(self) -> None:
        self.dataset.folder_selected.connect(self.choose_folder)
        self.dataset.grouping_selected.connect(self.training.find_slides)
        self.runner.reported.connect(self._draw)
        self.runner.started.connect(self.refresh)
        self.runner.finished.connect(self.refresh)
        self.dataset_runner.failed.connect(self.status.say)
        self.training.message.connect(self.status.hear)
        self.labels.message.connect(self.status.say)
        self.labels.closed.connect(self.refresh)
        self.training.saved.connect(self.update_summary)
        self.training.changed.connect(self._on_training)

    def _on_kinds(self, summaries: dict[str, str]) -> None:
        box = self.form.widgets["kind"]
        box.choices = list(summaries)
        for index, summary in enumerate(summaries.values()):
            box.native.setItemData(index, summary, Qt.ItemDataRole.ToolTipRole)
        self._kinds_known = True
        self.refresh()
        self.update_summary()

    def _on_training(self) -> None:
        if not self.labels.isHidden() and self.labels.folder != self.training.folder:
            self.labels.close_check()
        if self.training.project is None:
            self.summary = None
            self.comparison.show_comparison(None)
        self.status.refresh()
        self.refresh()
        if self._kinds_known:
            self.update_summary()

    def _on_summary(self, summary: DatasetSummary | None) -> None:
        self.summary = summary
        self.refresh()

    def _draw(self, _progress: object = None) -> None:
        if self.curves is not None:
            self.plot.show_curves(self.curves.losses, self.curves.dice, self.curves.epochs)

    def _on_labels(self, folder: Path, check: LabelCheck) -> None:
        if folder != self.training.folder:  # Another project was opened in the meantime.
            return
        self.labels.show_check(folder, check)
        self.status.say("Nothing was changed. Click a number to see its labels, and a card to see its place.")
        self.refresh()

    def _on_trained(self, heads: HeadsInUse, trained: Round) -> None:
        current = self.training.heads
        if current is None or current.folder != heads.folder:  # Another project was opened in the meantime.
            project = heads.folder.parent
            type(heads)(project).offer(trained.path)
            self.status.say(
                f"Done. {trained.path.stem} is waiting in the project '{project.name}'; open it to accept the head."
            )
            return
        current.offer(trained.path)
        self._draw()
        self.comparison.show_comparison(trained.comparison, trained.note)
        self._doubt = trained.note or (None if trained.comparison is None else trained.comparison.doubt)
        self.status.say("Done. Accept the new head, or roll back to keep the one in use.")
        self.training.saved.emit()
        self.refresh()

    def _stop(self) -> None:
        self._stop_event.set()
        self.status.say("Stopping after the current step; the best epoch is kept.")
        self.refresh()

    def _decide(self, method: str) -> None:
        heads = self.training.heads
        if heads is None:
            return
        if method == "accept" and self._doubt is not None and not self._warned:
            self._warned = True
            self.status.say(f"{self._doubt} Press 'Accept anyway' to use it.")
            self.refresh()
            return
        self._warned = False
        decide: Callable[[], Path | None] = getattr(heads, method)
        if self.state.attempt(decide, self.status.say):
            current = "no head of this project" if heads.current is None else heads.current.stem
            self.status.say(f"Auto-segment now uses {current}.")
            self.training.changed.emit()
