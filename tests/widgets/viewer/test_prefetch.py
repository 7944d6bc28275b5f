"""What the camera shows is prepared for clicks once it has come to rest."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt

from napari_sampath.geometry import tile_for
from napari_sampath.jobs import Progress
from napari_sampath.widgets.canvas.viewport import box_in_view
from napari_sampath.widgets.viewer.prefetch import REST_MS
from napari_sampath.widgets.viewer.viewer_state import ModelChoice
from support.models.discs import DiscModel, loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.gui

SEEN_MS = 3 * REST_MS
"""By then it has begun, or nothing is missing."""


@pytest.fixture
def pixels() -> np.ndarray:
    """An image of 25 tiles."""
    return np.random.default_rng(0).integers(120, 250, (3000, 3000, 3), dtype=np.uint8)


@pytest.fixture
def large(open_bench: Callable[..., Any], pixels: np.ndarray) -> Any:
    """The image on the screen, the camera in its middle."""
    b = open_bench(pixels, DiscModel())
    look(b, 1500, 1500)
    wait_until(lambda: prepared(b), 20, "the middle")
    return b


def look(b: Any, row: float, col: float, zoom: float = 2.0) -> None:
    """Move the camera; at the zoom of most tests a view needs four tiles at most."""
    b.viewer.scene.camera.zoom = zoom
    b.viewer.scene.camera.center = (0, row, col)


def prepared(b: Any) -> bool:
    """Whether a click anywhere in view needs no encoding."""
    return b.session.view_job(box_in_view(b.viewer, b.image, b.session.hw)) is None


def usual(b: Any) -> list[Any]:
    """What was encoded, without closer tiles."""
    return [frame for frame in b.model.encoded if max(frame.hw) == 1024]


def block(b: Any) -> int:
    """Look at a corner and stop the encoding there; return how many tiles were encoded before."""
    b.model.go_on.clear()
    b.model.encoding.clear()
    look(b, 2500, 2500, 0.8)
    wait_until(b.model.encoding.is_set, 20, "encoding to begin")
    return len(b.model.encoded)


def test_the_tiles_in_view_are_encoded_and_answer_at_once(large: Any, qtbot: Any) -> None:
    b = large
    before, said = len(usual(b)), b.text
    shown: list[str] = []
    b.bench.runner.started.connect(shown.append)
    look(b, 2700, 2700)
    assert not prepared(b)
    wait_until(lambda: prepared(b), 20, "the corner")
    assert 1 <= len(usual(b)) - before <= 4
    assert b.text == said, "nobody has to read of it"
    assert not shown
    ready = len(b.model.encoded)
    b.driver.move(2700, 2700)
    wait_until(lambda: b.annotator.preview.answer is not None, 10, "the preview")
    b.driver.click(2700, 2700)
    b.answered()
    assert b.session.candidate is not None
    assert len(b.model.encoded) == ready
    look(b, 2702, 2702)
    qtbot.wait(SEEN_MS)
    assert len(b.model.encoded) == ready, "nothing is done twice"


def test_the_camera_is_followed_where_the_mouse_drags_it(large: Any) -> None:
    b = large
    b.annotator.mode = b.annotator.mode.MOVE
    middle = b.viewer.scene.camera.center
    for _ in range(8):
        row, col = b.viewer.scene.camera.center[-2:]
        b.driver.drag([(col + 75, row + 75), (col - 75, row - 75)])
    assert b.viewer.scene.camera.center[-1] - middle[-1] > 1000
    wait_until(lambda: prepared(b), 20, "where it rests")
    row, col = b.viewer.scene.camera.center[-2:]
    assert tile_for(b.session.hw, [(col, row)]) in b.model.encoded


def test_who_zooms_in_is_answered_on_closer_tiles_and_who_zooms_out_is_not(large: Any) -> None:
    b = large
    assert {max(frame.hw) for frame in b.model.encoded} == {512, 1024}
    b.driver.click(1520, 1510)
    b.answered()
    assert b.session.candidate.frame.hw == (512, 512)
    b.driver.key(Qt.Key.Key_Escape)
    look(b, 1500, 1500, 0.8)
    wait_until(lambda: b.session.preview(1520, 1510).frame.hw == (1024, 1024), 10, "the wider view to be met")
    b.driver.click(1520, 1510)
    b.answered()
    assert b.session.candidate.frame.hw == (1024, 1024)


def test_a_wide_view_is_prepared_four_tiles_at_a_rest(large: Any, qtbot: Any) -> None:
    b = large
    for step in range(8):
        before = len(usual(b))
        look(b, 1500 + step, 1500, 0.4)
        qtbot.wait(SEEN_MS)
        assert len(usual(b)) - before <= 4
    assert prepared(b)
    r0, c0, _, _ = box_in_view(b.viewer, b.image, b.session.hw)
    assert b.session.preview(c0 + 10, r0 + 10) is not None
    assert len(set(b.model.encoded)) == len(b.model.encoded)


def test_what_runs_comes_first(large: Any, qtbot: Any) -> None:
    b, go_on, ended = large, threading.Event(), []
    before = len(b.model.encoded)

    def job() -> Iterator[Progress]:
        go_on.wait(60)
        yield Progress(1, 1)

    b.bench.runner.start(job(), "something else", ended.append)
    look(b, 300, 2700)
    qtbot.wait(SEEN_MS)
    assert len(b.model.encoded) == before
    go_on.set()
    wait_until(lambda: prepared(b), 20, "the corner")
    assert len(ended) == 1, "it was not cancelled"


def test_a_move_while_the_image_is_prepared_is_followed_after_it(
    open_bench: Callable[..., Any], pixels: np.ndarray, qtbot: Any
) -> None:
    model = DiscModel()
    model.go_on.clear()
    b = open_bench(pixels, model, ready=False)
    wait_until(model.encoding.is_set, 60, "encoding to begin")
    look(b, 2700, 2700)
    qtbot.wait(SEEN_MS)
    model.go_on.set()
    wait_until(lambda: b.bench.ready and prepared(b), 20, "the corner")
    assert tile_for(b.session.hw, [(2700, 2700)]) in model.encoded


def test_another_model_ends_it(large: Any) -> None:
    b, old, new = large, large.model, DiscModel()
    before = block(b)
    b.bench._load_model = loader(new)
    b.bench.choose_model(ModelChoice("other"))
    wait_until(lambda: b.session.model is new, 20, "the other model")
    old.go_on.set()
    wait_until(lambda: b.bench.ready, 20, "the image to be encoded")
    assert b.bench._ahead._runner.wait(10)
    assert len(old.encoded) <= before + 1


def test_an_image_that_is_closed_ends_it(large: Any) -> None:
    b = large
    before, runner = block(b), b.bench._ahead._runner
    b.viewer.layers.remove(b.image)
    wait_until(lambda: b.bench.image is None, 10, "the image to be let go")
    b.model.go_on.set()
    assert runner.wait(10)
    assert len(b.model.encoded) <= before + 1


def test_a_dock_that_is_closed_ends_it(large: Any) -> None:
    b = large
    before, bench = block(b), b.bench
    b.viewer.window.remove_dock_widget(b.dock)
    wait_until(lambda: bench.annotator is None, 10, "the dock to go")
    b.model.go_on.set()
    assert bench._ahead._runner.wait(10)
    assert len(b.model.encoded) <= before + 1
