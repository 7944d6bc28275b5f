"""One line of text, a bar and Cancel: how a dock shows what its job runner does and what went wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from ...jobs import Progress
    from ..background.workers import JobRunner

MESSAGE_LINES = 3
"""Room kept for a message, so that the dock does not jump when one appears."""

MESSAGE_LINES_BUSY = 2
"""The same while a bar is shown, so that the dock does not scroll in a window of 800 px."""


class _Message(QLabel):
    """Text that is never cut off: a full dock scrolls instead, which a label that wraps does not ask for by itself."""

    least_lines = MESSAGE_LINES

    def fit(self) -> None:
        """Claim the height that the text takes at this width."""
        least = self.least_lines * self.fontMetrics().lineSpacing()
        self.setMinimumHeight(0)  # It would count as the height of any text.
        self.setMinimumHeight(max(least, self.heightForWidth(self.width())))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Follow the width."""
        super().resizeEvent(event)
        self.fit()


class StatusLine(QWidget):
    """Shows one `JobRunner`: what it does, a bar, rate and time left, Cancel; and the newest message.

    Args:
        runner: The runner to show.
        idle: What to say when nothing runs and nothing went wrong.
    """

    def __init__(self, runner: JobRunner, idle: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._runner = runner
        self._began = 0.0
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(14)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.doing = QLabel("")
        self.doing.setWordWrap(True)
        self.message = _Message(idle)
        self.message.setWordWrap(True)
        self.message.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.message.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.MinimumExpanding)
        self._busy = QWidget()
        row = QHBoxLayout(self._busy)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (self.doing, self._busy, self.message):
            column.addWidget(widget)
        self._over()
        runner.started.connect(self._on_started)
        runner.reported.connect(self._on_reported)
        runner.failed.connect(self.say)
        runner.finished.connect(self._over)
        self.cancel_button.clicked.connect(self._on_cancel)

    def say(self, text: str) -> None:
        """Show a sentence until the next one."""
        self.message.setText(text)
        self.message.fit()

    def _on_started(self, doing: str) -> None:
        self._began = time.monotonic()
        self.doing.setText(f"{doing[:1].upper()}{doing[1:]} …")
        self.bar.setRange(0, 0)
        self._show_busy(True)

    def _on_reported(self, progress: Progress) -> None:
        if progress.total > 0:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * progress.fraction))
        else:
            self.bar.setRange(0, 0)
        self.doing.setText(describe(progress, time.monotonic() - self._began))

    def _over(self) -> None:
        self._show_busy(False)

    def _show_busy(self, busy: bool) -> None:
        self.doing.setVisible(busy)
        self._busy.setVisible(busy)
        self.message.least_lines = MESSAGE_LINES_BUSY if busy else MESSAGE_LINES
        self.message.fit()

    def _on_cancel(self) -> None:
        self._runner.cancel()
        self.say("Cancelled.")


def describe(progress: Progress, elapsed_s: float) -> str:
    """Say in words how far a job is: what is done, how fast, how long it will take.

    Args:
        progress: The newest report.
        elapsed_s: Seconds since the job began.
    """
    if progress.total <= 0:
        return f"{progress.message} …" if progress.message else ""
    if progress.unit == "bytes":
        counted = f"{progress.done / 1e6:.0f} of {progress.total / 1e6:.0f} MB"
    else:
        counted = f"{progress.done:g} of {progress.total:g} {progress.unit}".rstrip()
    text = f"{progress.message}: {counted}" if progress.message else counted
    if progress.done <= 0 or elapsed_s <= 0 or progress.done >= progress.total:
        return text
    rate = progress.done / elapsed_s
    speed = f"{rate / 1e6:.1f} MB a second" if progress.unit == "bytes" else f"{rate:.2g} a second"
    return f"{text}, {speed}, {duration((progress.total - progress.done) / rate)} left"


def duration(seconds: float) -> str:
    """Write a time span as a person would say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
