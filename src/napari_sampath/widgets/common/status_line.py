"""A message, a progress bar and a Cancel button for a job runner."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QLabel, QProgressBar, QSizePolicy, QWidget

from ...jobs import Progress
from ..background.workers import JobRunner
from .controls import button, column, label, row

MESSAGE_LINES = 3
"""Minimum height of the message in lines, so that the layout does not jump when a message appears."""
MESSAGE_LINES_BUSY = 2
"""Minimum height while the progress bar is shown, so that the dock fits into a window 800 px high."""


class _Message(QLabel):
    """A wrapped text that is never cut off: if it does not fit, the dock scrolls."""

    min_lines = MESSAGE_LINES

    def fit_height(self) -> None:
        """Set the minimum height to the height of the text at the current width."""
        minimum = self.min_lines * self.fontMetrics().lineSpacing()
        self.setMinimumHeight(0)  # heightForWidth never returns less than the minimum height.
        self.setMinimumHeight(max(minimum, self.heightForWidth(self.width())))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Adjust the height to the new width."""
        super().resizeEvent(event)
        self.fit_height()


class StatusLine(QWidget):
    """Shows the progress of a `JobRunner`, with rate, time left and Cancel, and the newest message below it.

    Args:
        runner: The runner to show.
        idle: The text without a message, or a function that returns it.
    """

    def __init__(
        self, runner: JobRunner, idle: str | Callable[[], str] = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._runner = runner
        self._idle = idle if callable(idle) else lambda: idle
        self._resting = True
        """Whether the idle text is shown."""
        self._fresh = False
        """Whether the message is of the current turn of the event loop."""
        self._start_s = 0.0
        self.bar = QProgressBar()
        # A bar without a value stays still: animating it takes half a core where OpenGL is rendered by the CPU.
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress")
        self.bar.setMaximumHeight(14)
        self.cancel_button = button("Cancel", on_click=self._cancel)
        self.doing = label(wrap=True)
        self._aging, self._expiry = _soon(self, self._age), _soon(self, self._rest_unless_fresh)
        self.message = _Message(self._idle())
        self.message.setTextFormat(Qt.TextFormat.PlainText)
        self.message.setWordWrap(True)
        self.message.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.message.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.MinimumExpanding)
        self._busy = QWidget()
        self._busy.setLayout(row(self.bar, self.cancel_button, stretch=0))
        column(self.doing, self._busy, self.message, parent=self)
        self._show_busy(False)
        runner.started.connect(self._on_started)
        runner.reported.connect(self._on_reported)
        runner.failed.connect(self.say)
        # A bound method, which Qt disconnects when the dock is closed before the runner ends.
        runner.finished.connect(self._on_finished)

    def say(self, text: str) -> None:
        """Show a message until the next message, or until it is outdated; see `expire_on`."""
        self._resting, self._fresh = False, True
        self._show(text)
        self._aging.start()

    def hear(self, text: str) -> None:
        """Show a message of another dock, if this one is visible."""
        if self.isVisible():
            self.say(text)

    def rest(self) -> None:
        """Show the idle text instead of the message."""
        self._resting = True
        self.refresh()

    def refresh(self) -> None:
        """Update the idle text, if it is shown."""
        if self._resting:
            self._show(self._idle())

    def expire_on(self, *signals: Any) -> None:
        """Replace the message by the idle text at these signals, unless it was set in the same turn."""
        for signal in signals:
            signal.connect(self._expire)

    def _expire(self, *_: object) -> None:
        if not self._fresh and not self._resting:
            self._expiry.start()

    def _rest_unless_fresh(self) -> None:
        if not self._fresh:
            self.rest()

    def _age(self) -> None:
        self._fresh = False

    def _show(self, text: str) -> None:
        if text != self.message.text():
            self.message.setText(text)
            self.message.fit_height()

    def _on_started(self, description: str) -> None:
        self._start_s = time.monotonic()
        self.doing.setText(f"{description[:1].upper()}{description[1:]} …")
        self.bar.reset()
        self._show_busy(True)

    def _on_finished(self) -> None:
        self._show_busy(False)

    def _on_reported(self, progress: Progress) -> None:
        if progress.total > 0:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * progress.fraction))
        else:
            self.bar.reset()
        self.doing.setText(describe(progress, time.monotonic() - self._start_s))

    def _show_busy(self, busy: bool) -> None:
        self.doing.setVisible(busy)
        self._busy.setVisible(busy)
        self.message.min_lines = MESSAGE_LINES_BUSY if busy else MESSAGE_LINES
        self.message.fit_height()

    def _cancel(self) -> None:
        self._runner.cancel()
        self.say("Cancelled.")


def _soon(parent: QWidget, call: Callable[[], object]) -> QTimer:
    """Return a timer that calls a function in the next turn of the event loop, unless its parent is gone."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(0)
    timer.timeout.connect(call)
    return timer


def describe(progress: Progress, elapsed_s: float) -> str:
    """Describe the progress of a job: count, rate and time left.

    Args:
        progress: The newest report.
        elapsed_s: Seconds since the job started.
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
    speed = f"{rate / 1e6:.1f} MB/s" if progress.unit == "bytes" else f"{rate:.2g} per second"
    return f"{text}, {speed}, {format_duration((progress.total - progress.done) / rate)} left"


def format_duration(seconds: float) -> str:
    """Format a duration in a suitable unit: "45 s", "12 min" or "1.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
