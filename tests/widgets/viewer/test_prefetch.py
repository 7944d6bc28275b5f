"""The tiles in view are encoded once the camera has stopped."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt

from napari_sampath.jobs import Progress
from napari_sampath.tiling import tile_for
from napari_sampath.widgets.canvas.viewport import box_in_view
from napari_sampath.widgets.viewer.prefetch import SETTLE_MS
from napari_sampath.widgets.viewer.viewer_state import ModelChoice
from support.models.discs import DiscModel, loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.gui

SEEN_MS = 3 * SETTLE_MS
"""Encoding has begun by then, or no tile is missing."""


@pytest.fixture
def pixels() -> np.ndarray:
    """An image of 25 tiles."""
    return np.random.default_rng(0).integers(120, 250, (3000, 3000, 3), dtype=np.uint8)


@pytest.fixture
def large(open_window: Callable[..., Any], pixels: np.ndarray) -> Any:
    """The image in a viewer, with the camera at its centre."""
    window = open_window(pixels, DiscModel())
    move_camera(window, 1500, 1500)
    wait_until(lambda: prepared(window), 60, "the centre to be encoded")
    return window


def move_camera(window: Any, row: float, col: float, zoom: float = 2.0) -> None:
    """Move the camera; at the default zoom a view needs at most four tiles."""
    window.viewer.scene.camera.zoom = zoom
    window.viewer.scene.camera.center = (0, row, col)


def prepared(window: Any) -> bool:
    """Return True if a click anywhere in view needs no encoding."""
    return (
        window.session.prompts.view_job(box_in_view(window.viewer, window.image, window.session.hw)) is None
    )


def full_tiles(window: Any) -> list[Any]:
    """Return the encoded tiles, without high-resolution tiles."""
    return [frame for frame in window.model.encoded if max(frame.hw) == 1024]


def block(window: Any) -> int:
    """Move to a corner and block the encoding there; return the number of tiles encoded before."""
    window.model.go_on.clear()
    window.model.encoding.clear()
    move_camera(window, 2500, 2500, 0.8)
    wait_until(window.model.encoding.is_set, 60, "encoding to begin")
    return len(window.model.encoded)


def test_tiles_in_view_are_encoded_and_answer_at_once(large: Any, qtbot: Any) -> None:
    window = large
    before, text = len(full_tiles(window)), window.text
    shown: list[str] = []
    window.state.runner.started.connect(shown.append)
    move_camera(window, 2700, 2700)
    assert not prepared(window)
    wait_until(lambda: prepared(window), 60, "the corner")
    assert 1 <= len(full_tiles(window)) - before <= 4
    assert window.text == text, "no message is shown"
    assert not shown
    ready = len(window.model.encoded)
    window.driver.move(2700, 2700)
    wait_until(lambda: window.annotator.preview.answer is not None, 60, "the preview")
    window.driver.click(2700, 2700)
    window.answered()
    assert window.session.prompts.candidate is not None
    assert len(window.model.encoded) == ready
    move_camera(window, 2702, 2702)
    qtbot.wait(SEEN_MS)
    assert len(window.model.encoded) == ready, "no tile is encoded twice"


def test_dragging_the_image_encodes_the_new_view(large: Any) -> None:
    window = large
    window.annotator.mode = window.annotator.mode.MOVE
    middle = window.viewer.scene.camera.center
    for _ in range(12):
        row, col = window.viewer.scene.camera.center[-2:]
        window.driver.drag([(col + 50, row + 50), (col - 50, row - 50)])
    assert window.viewer.scene.camera.center[-1] - middle[-1] > 1000
    wait_until(lambda: prepared(window), 60, "where it rests")
    row, col = window.viewer.scene.camera.center[-2:]
    assert tile_for(window.session.hw, [(col, row)]) in window.model.encoded


def test_zooming_in_switches_to_high_resolution_tiles_and_zooming_out_back(large: Any) -> None:
    window = large
    assert {max(frame.hw) for frame in window.model.encoded} == {512, 1024}
    window.driver.click(1520, 1510)
    window.answered()
    assert window.session.prompts.candidate.frame.hw == (512, 512)
    window.driver.key(Qt.Key.Key_Escape)
    move_camera(window, 1500, 1500, 0.8)
    wait_until(
        lambda: window.session.prompts.preview(1520, 1510).frame.hw == (1024, 1024),
        60,
        "the wider view to be met",
    )
    window.driver.click(1520, 1510)
    window.answered()
    assert window.session.prompts.candidate.frame.hw == (1024, 1024)


def test_a_wide_view_is_encoded_four_tiles_at_a_time(large: Any, qtbot: Any) -> None:
    window = large
    for step in range(8):
        before = len(full_tiles(window))
        move_camera(window, 1500 + step, 1500, 0.4)
        qtbot.wait(SEEN_MS)
        assert len(full_tiles(window)) - before <= 4
    wait_until(lambda: prepared(window), 60, "the view")
    r0, c0, _, _ = box_in_view(window.viewer, window.image, window.session.hw)
    assert window.session.prompts.preview(c0 + 10, r0 + 10) is not None
    assert len(set(window.model.encoded)) == len(window.model.encoded)


def test_a_running_job_comes_first(large: Any, qtbot: Any) -> None:
    window, go_on, ended = large, threading.Event(), []
    before = len(window.model.encoded)

    def job() -> Iterator[Progress]:
        go_on.wait(60)
        yield Progress(1, 1)

    window.state.runner.start(job(), "something else", ended.append)
    move_camera(window, 300, 2700)
    qtbot.wait(SEEN_MS)
    assert len(window.model.encoded) == before
    go_on.set()
    wait_until(lambda: prepared(window), 60, "the corner")
    assert len(ended) == 1, "the job was not cancelled"


def test_a_camera_move_during_preparation_is_followed_afterwards(
    open_window: Callable[..., Any], pixels: np.ndarray, qtbot: Any
) -> None:
    model = DiscModel()
    model.go_on.clear()
    window = open_window(pixels, model, ready=False)
    wait_until(model.encoding.is_set, 60, "encoding to begin")
    move_camera(window, 2700, 2700)
    qtbot.wait(SEEN_MS)
    model.go_on.set()
    wait_until(lambda: window.state.ready and prepared(window), 60, "the corner")
    assert tile_for(window.session.hw, [(2700, 2700)]) in model.encoded


def test_another_model_ends_prefetching(large: Any) -> None:
    window, old, new = large, large.model, DiscModel()
    before = block(window)
    window.state._load_model = loader(new)
    window.state.choose_model(ModelChoice("other"))
    wait_until(lambda: window.session.model is new, 60, "the other model")
    old.go_on.set()
    wait_until(lambda: window.state.ready, 60, "the image to be encoded")
    assert window.state._prefetcher.runner.wait(60)
    assert len(old.encoded) <= before + 1


def test_closing_the_image_ends_prefetching(large: Any) -> None:
    window = large
    before, runner = block(window), window.state._prefetcher.runner
    window.viewer.layers.remove(window.image)
    wait_until(lambda: window.state.image is None, 60, "the image to be let go")
    window.model.go_on.set()
    assert runner.wait(60)
    assert len(window.model.encoded) <= before + 1


def test_closing_the_dock_ends_prefetching(large: Any) -> None:
    window = large
    before, state = block(window), window.state
    window.viewer.window.remove_dock_widget(window.dock)
    wait_until(lambda: state.annotator is None, 60, "the dock to go")
    window.model.go_on.set()
    assert state._prefetcher.runner.wait(60)
    assert len(window.model.encoded) <= before + 1
