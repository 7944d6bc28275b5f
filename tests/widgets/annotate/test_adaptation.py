"""Adaptation of the model in the Annotate dock, with real clicks and the shipped model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt

from napari_sampath.session import Project
from napari_sampath.widgets.viewer.training import adaptation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("small_window")]

HW = (192, 256)
CENTRES = [(row, col) for row in (40, 96, 152) for col in (40, 100, 160, 220)]


@pytest.fixture
def window(open_window: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    import napari_sampath as ns
    from napari_sampath.training.prompts.adaptation.adapt import AdaptationConfig

    monkeypatch.setattr(adaptation, "IDLE_MS", 10)
    rows, cols = np.mgrid[: HW[0], : HW[1]]
    image = np.full((*HW, 3), (225, 170, 205), np.uint8)
    for row, col in CENTRES:
        image[(rows - row) ** 2 + (cols - col) ** 2 <= 14**2] = (95, 60, 140)
    window = open_window(image, ns.load_model("sampath-tiny", device="cpu"))
    # With an average of 0 the result is the decoder in use, which needs no more clicks than itself.
    window.state.training.adaptation.config = AdaptationConfig(
        steps=1, objects=1, measured=1, least_held_back=1, average=0.0, old_share=0.0
    )
    return window


def test_commits_start_a_round_and_the_switch_returns_to_the_original(window: Any, tmp_path: Path) -> None:
    controller, form, model = window.state.training.adaptation, window.dock.adaptation, window.state.model
    window.state.training.choose(tmp_path / "project", "discs")
    wait_until(
        lambda: window.state.training.project is not None and not controller.runner.busy, 60, "the project"
    )
    original = model.decoder
    assert not form.switch.isChecked(), "nothing is learned without consent"
    window.driver.press(form.switch)
    assert form.effect.toolTip() == "not adapted yet: commit more objects"
    for row, col in CENTRES:
        window.driver.click(col, row)
        window.driver.key(Qt.Key.Key_Return)
    window.driver.settle()
    wait_until(lambda: controller.record is not None and not controller.runner.busy, 300, "the round")
    assert "-> " in form.effect.text()
    assert "adapted to this dataset: " in form.effect.toolTip()
    assert "clicks per object" in form.effect.toolTip()
    assert model.decoder is not original
    assert model.decoder.original is original
    assert len(window.session.document.objects) == len(CENTRES)

    window.driver.press(form.switch)
    assert model.decoder is original
    assert "off" in form.effect.toolTip()
    assert not form.effect.text()
    window.state.training.close_project()
    wait_until(lambda: window.state.training.project is None, 60, "the project to close")
    assert controller.record is None
    window.state.training.choose(Project(tmp_path / "project").path)
    wait_until(lambda: controller.record is not None, 60, "the saved decoder")
    assert not form.switch.isChecked(), "the project remembers that it is off"
    window.driver.press(form.switch)
    assert model.decoder is not original
    # The adapted decoder answers clicks.
    window.driver.click(*reversed(CENTRES[0]))
    wait_until(lambda: window.session.prompts.candidate is not None, 60, "the answer")


def test_a_model_that_cannot_be_adapted_starts_no_round(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    from napari_sampath.training.prompts.adaptation.examples import ExampleTile
    from support.models.discs import DiscModel

    window = open_window(tissue, DiscModel())
    controller = window.state.training.adaptation
    window.driver.press(window.dock.adaptation.switch)
    assert controller.on
    controller._begin()
    assert not controller.runner.busy
    # The tiles of the newest images are kept.
    for number in range(40):
        controller._on_round(str(number), adaptation.Adapted(tiles=[ExampleTile(np.zeros((), np.float16))]))
    assert list(controller._tiles) == [str(number) for number in range(40 - adaptation.MAX_TILES, 40)]
