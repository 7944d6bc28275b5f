"""A closed panel receives nothing more, while another dock keeps the session and the runners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.gui_driver import wait_until

from napari_sampath.jobs import Progress
from napari_sampath.widgets.panel.panel import TABS, SamPathPanel
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

pytestmark = pytest.mark.gui


def test_edits_and_jobs_after_the_panel_was_closed_raise_nothing(
    open_window: Callable[..., Any], tissue: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    window = open_window(tissue, DiscModel())
    panel = SamPathPanel(window.viewer, window.state)
    window.viewer.window.add_dock_widget(panel, name="SamPath", area="right")
    for title in TABS:
        panel.show_tab(title)
    gone: list[object] = []
    panel.destroyed.connect(lambda *_: gone.append(True))  # PySide6 passes no argument to list.append
    window.session.paint([60], [50], 1)
    window.viewer.window.remove_dock_widget(panel)
    wait_until(lambda: bool(gone), 60, "the panel to be deleted")
    window.session.paint([61], [50], 1)
    window.session.undo()

    def short() -> Any:
        yield Progress(1, 1, "Counting")

    window.state.runner.start(short(), "counting", lambda _result: None)
    window.state.training.runner.start(short(), "opening the project", lambda _result: None)
    wait_until(lambda: not (window.state.runner.busy or window.state.training.runner.busy), 60, "the jobs")
    window.state.message.emit("A message.")
    wait_until(lambda: window.text == "A message.", 60, "the message")
