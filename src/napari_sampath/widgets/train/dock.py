"""The Train dock: from corrections to a better head, while annotating goes on."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSpinBox,
)

from ...formats.dataset.manifest import slide_in
from ..background.workers import JobRunner
from ..common.base_dock import Dock
from ..common.status_line import StatusLine
from .comparison import ComparisonView
from .curves import CurvesPlot
from .jobs import Wish, held_job, kinds_job, train_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...training.rounds.rounds import DatasetSummary, Round, TrainingCurves
    from ..viewer.viewer_state import ViewerState
    from .jobs import HeadKind

WELCOME = "Choose a folder for your dataset. What you annotate is saved into it by itself from then on."
SLIDE_ENDS_BEFORE = ("", "-", "_", " ", ".")
"""Texts in an image's name before which that of its slide may end; the first says nothing of slides."""
SPLITS = {"train": "to learn from", "val": "kept aside", "test": "for the final test"}
"""Split -> what it is for, as a heading."""


class TrainDock(Dock):
    """Shows the dataset, trains a head on it in the background, and lets a person accept it or not.

    Annotating goes on meanwhile: the job has its own thread, and what is annotated while it runs is in the dataset
    for the next one.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        state: Shared state; that of the viewer by default.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__(napari_viewer, state)
        self.training = self.state.training
        self.runner = JobRunner(self)
        self.looker = JobRunner(self)
        """Looks at the dataset; apart, so that training is not cancelled by it."""
        self.held: DatasetSummary | None = None
        self.course: TrainingCurves | None = None
        self.folder = QLabel()
        self.folder.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.folder.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.folder_button = self.button("Choose…", "The folder in which your training samples are kept")
        self.slides = QComboBox()
        self.slides.setToolTip(
            "Images of one slide are learnt from, or kept aside, together: else the scores would flatter the head"
        )
        self.slides.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.slides.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for ends_before in SLIDE_ENDS_BEFORE:
            self.slides.addItem("", ends_before)
        self.content = QLabel()
        self.content.setWordWrap(True)
        self.content.setTextFormat(Qt.TextFormat.RichText)
        self.kind = QComboBox()
        self.kind.setToolTip("Which kind of head to train")
        self.kind.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.kind.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.passes = QSpinBox()
        self.passes.setRange(1, 500)
        self.passes.setValue(Wish().epochs)
        self.passes.setToolTip(
            "How often all training images are gone through at most; training stops earlier when it no longer helps"
        )
        self.turned = QCheckBox("Turn and mirror the images")
        self.turned.setToolTip(
            "Learn from each image in eight views: better with few images; preparing takes eight times as long, once"
        )
        self.turned.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.train_button = self.button("Train", "Train a head on the dataset; you can go on annotating")
        self.plot = CurvesPlot()
        self.status = StatusLine(self.runner, WELCOME)
        self.comparison = ComparisonView()
        self.in_use = QLabel()
        self.in_use.setWordWrap(True)
        self.accept_button = self.button("Accept", "Use the new head in Auto-segment from now on")
        self.back_button = self.button(
            "Roll back", "Turn the new head down; or go back to the head that was in use before"
        )
        self.hold(self.runner, self.looker)
        self._arrange()
        self._connect()
        self.state.start()
        self.looker.start(kinds_job(), "looking up the kinds of head", self._on_kinds)
        self.refresh()

    def refresh(self) -> None:
        """Show how things stand."""
        heads, folder = self.training.heads, self.training.folder
        self.folder.setText("none yet" if folder is None else folder.name)
        self.folder.setToolTip("" if folder is None else str(folder))
        self._show_slides()
        self.content.setText(describe(self.held) if folder is not None else "")
        self.train_button.setEnabled(
            heads is not None and self.held is not None and self.kind.count() > 0 and not self.runner.busy
        )
        offered = None if heads is None else heads.offered
        self.accept_button.setEnabled(offered is not None)
        self.back_button.setEnabled(heads is not None and (offered is not None or heads.previous is not None))
        if heads is None:
            self.in_use.setText("")
        else:
            used = "none yet" if heads.current is None else heads.current.stem
            waiting = "" if offered is None else f" <b>{escape(offered.stem)}</b> waits for your decision."
            before = "" if heads.previous is None else f", before it {escape(heads.previous.stem)}"
            self.in_use.setText(f"Head in use: <b>{escape(used)}</b>{before}.{waiting}")

    def _show_slides(self) -> None:
        """Show the rule in force, and what each would make of the name of the image that is open."""
        name = "" if self.state.session is None else self.state.session.name
        for row, ends_before in enumerate(SLIDE_ENDS_BEFORE):
            shown = "each image has its own slide"
            if ends_before:
                found = slide_in(name, ends_before)
                shown = f"the name before the first '{ends_before}'" + (f": {found}" if found else "")
            self.slides.setItemText(row, shown)
        if self.held is not None and not self.training.runner.busy:
            in_force = self.held.slide_ends_before
            if self.slides.findData(in_force) < 0:
                self.slides.addItem(f"the name before '{in_force}'", in_force)
            self.slides.setCurrentIndex(self.slides.findData(in_force))
        self.slides.setEnabled(self.training.folder is not None)

    def look(self) -> None:
        """Look anew at what the dataset holds."""
        folder = self.training.folder
        if folder is not None:
            self.looker.start(held_job(folder, self.held), "looking at the dataset", self._on_held)

    def choose_folder(self, folder: Path) -> None:
        """Use another dataset."""
        self.held = None
        self.training.choose(folder)

    def _arrange(self) -> None:
        folder_row = QHBoxLayout()
        folder_row.addWidget(self.folder, 1)
        folder_row.addWidget(self.folder_button)
        form = QFormLayout()
        form.setVerticalSpacing(4)
        form.addRow("Dataset", folder_row)
        form.addRow("Slides", self.slides)
        self.column.addLayout(form)
        self.column.addWidget(self.content)
        recipe = QFormLayout()
        recipe.setVerticalSpacing(4)
        recipe.addRow("Head", self.kind)
        recipe.addRow("Passes", self.passes)
        self.column.addLayout(recipe)
        for widget in (self.turned, self.train_button, self.plot, self.status, self.in_use):
            self.column.addWidget(widget)
        decide = QHBoxLayout()
        decide.addWidget(self.accept_button)
        decide.addWidget(self.back_button)
        self.column.addLayout(decide)
        self.column.addWidget(self.comparison)
        self.column.addStretch(1)

    def _connect(self) -> None:
        self.folder_button.clicked.connect(self._on_folder)
        self.slides.activated.connect(lambda: self.training.find_slides(self.slides.currentData()))
        self.train_button.clicked.connect(self._on_train)
        self.accept_button.clicked.connect(lambda: self._decide("accept"))
        self.back_button.clicked.connect(lambda: self._decide("roll_back"))
        self.runner.reported.connect(self._draw)
        self.runner.started.connect(self.refresh)
        self.runner.finished.connect(self.refresh)
        self.looker.failed.connect(self.status.say)
        self.training.message.connect(self.status.say)
        self.training.saved.connect(self.look)
        self.training.changed.connect(self._on_training_changed)
        if self.training.heads is None:
            self.training.restore()

    def _on_kinds(self, kinds: tuple[HeadKind, ...]) -> None:
        with QSignalBlocker(self.kind):
            for row, kind in enumerate(kinds):
                self.kind.addItem(kind.name, kind.name)
                self.kind.setItemData(row, kind.summary, Qt.ItemDataRole.ToolTipRole)
            self.kind.setCurrentIndex(max(0, self.kind.findData(Wish().kind)))
        self.refresh()
        if self.held is None:
            self.look()

    def _on_folder(self) -> None:
        start = str(self.training.folder or Path.home())
        folder = QFileDialog.getExistingDirectory(self, "Folder of the dataset", start)
        if folder:
            self.choose_folder(Path(folder))

    def _on_training_changed(self) -> None:
        if self.training.folder is not None and self.status.message.text() == WELCOME:
            self.status.say("What you annotate is saved into the dataset by itself.")
        self.refresh()
        if self.kind.count():
            self.look()

    def _on_held(self, held: DatasetSummary | None) -> None:
        self.held = held
        self.refresh()

    def _on_train(self) -> None:
        heads, folder = self.training.heads, self.training.folder
        if heads is None or folder is None:
            return
        from ...training.rounds.rounds import TrainingCurves

        self.course = TrainingCurves()
        wish = Wish(self.kind.currentData(), self.passes.value(), self.turned.isChecked())
        self.comparison.show_comparison(None)
        self.plot.show_curves((), (), wish.epochs)
        job = train_job(
            self.training.pending(),
            folder,
            heads,
            wish,
            self.state.model or self.state.choice.name,
            self.course,
        )
        self.runner.start(job, f"training {wish.kind}", self._on_trained)

    def _draw(self, _progress: object = None) -> None:
        if self.course is not None:
            self.plot.show_curves(self.course.losses, self.course.dice, self.course.epochs)

    def _on_trained(self, trained: Round) -> None:
        if self.training.heads is None:
            return
        self.training.heads.offer(trained.path)
        self._draw()
        self.comparison.show_comparison(trained.comparison, trained.note)
        self.status.say("Done. Accept the new head, or roll back to keep the one in use.")
        self.training.saved.emit()
        self.refresh()

    def _decide(self, verb: str) -> None:
        heads = self.training.heads
        if heads is None:
            return
        decide: Callable[[], Path | None] = getattr(heads, verb)
        if self.state.attempt(decide, self.status.say):
            used = "no head" if heads.current is None else heads.current.stem
            self.status.say(f"Auto-segment uses {used} from now on.")
            self.training.changed.emit()


def describe(held: DatasetSummary | None) -> str:
    """Say what a dataset holds, as a table in HTML."""
    if held is None:
        return "Nothing annotated is in it yet."
    splits = [split for split in SPLITS if split in held.images]
    head = "".join(f"<td align='right'>&nbsp;&nbsp;{SPLITS[split]}</td>" for split in splits)
    rows = [f"<tr><td></td>{head}</tr>"]
    counts = "".join(f"<td align='right'>{held.images[split]}</td>" for split in splits)
    rows.append(f"<tr><td>images</td>{counts}</tr>")
    for index, info in enumerate(held.classes):
        cells = "".join(
            f"<td align='right'>{_area(held.annotated_px.get(split, ())[index : index + 1])}</td>"
            for split in splits
        )
        color = "#{:02x}{:02x}{:02x}".format(*info.color)
        swatch = f"<font color='{color}'>&#9632;</font> " if info.id else ""
        name = escape(info.name) if info.id else "none of these"
        rows.append(f"<tr><td>{swatch}{name}</td>{cells}</tr>")
    known = sum(map(sum, held.annotated_px.values()))
    share = 100 * known / held.total_px if held.total_px else 0
    images = sum(held.images.values())
    of = f" of {held.slides} slides" if held.slides < images else ""
    text = f"<table cellspacing='1'>{''.join(rows)}</table>"
    text += f"{images} images{of}; {share:.0f} % of all pixels are annotated."
    if not held.images.get("val"):
        text += " Annotate an image of another slide, to have one to measure on."
    return text + "".join(f"<br>{escape(problem)}" for problem in held.problems[:2])


def _area(pixels: tuple[int, ...]) -> str:
    """Write an area in pixels shortly."""
    count = pixels[0] if pixels else 0
    if count >= 1e6:
        return f"{count / 1e6:.1f} Mpx"
    return f"{count / 1e3:.0f} kpx" if count >= 1e4 else f"{count} px"
