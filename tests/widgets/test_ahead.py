"""What the camera shows is prepared for clicks once it has come to rest."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from discs import DiscModel

from napari_sampath.jobs import Progress
from napari_sampath.widgets.ahead import REST_MS
from napari_sampath.widgets.robot import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.gui


@pytest.fixture
def large(open_bench: Callable[..., Any]) -> Any:
    """An image of nine tiles and more, the camera in its middle."""
    pixels = np.random.default_rng(0).integers(120, 250, (3600, 3600, 3), dtype=np.uint8)
    b = open_bench(pixels, DiscModel())
    look(b, 1800, 1800)
    wait_until(lambda: b.session.prepared((1800, 1800)), 20, "the middle")
    return b


def look(b: Any, row: float, col: float) -> None:
    b.viewer.scene.camera.zoom = 1.0
    b.viewer.scene.camera.center = (0, row, col)


def test_the_tiles_in_view_are_encoded_and_answer_at_once(large: Any) -> None:
    b = large
    before, said = len(b.model.encoded), b.text
    assert not b.session.prepared((3300, 3300))
    look(b, 3300, 3300)
    wait_until(lambda: b.session.prepared((3300, 3300)), 20, "the corner")
    assert 1 <= len(b.model.encoded) - before <= 4
    assert b.text == said, "nobody has to read of it"
    ready = len(b.model.encoded)
    b.robot.move(3300, 3300)
    wait_until(lambda: b.annotator.preview.answer is not None, 10, "the preview")
    b.robot.click(3300, 3300)
    b.answered()
    assert b.session.candidate is not None
    assert len(b.model.encoded) == ready


def test_nothing_is_done_twice(large: Any, qtbot: Any) -> None:
    b = large
    look(b, 1760, 1720)
    wait_until(lambda: b.session.prepared((1760, 1720)), 20, "what is in view")
    before = len(b.model.encoded)
    look(b, 1762, 1722)
    qtbot.wait(2 * REST_MS + 200)
    assert len(b.model.encoded) == before


def test_what_runs_comes_first(large: Any, qtbot: Any) -> None:
    b, go_on, ended = large, threading.Event(), []
    before = len(b.model.encoded)

    def job() -> Iterator[Progress]:
        go_on.wait(60)
        yield Progress(1, 1)

    b.bench.runner.start(job(), "something else", ended.append)
    look(b, 300, 3300)
    qtbot.wait(3 * REST_MS)
    assert len(b.model.encoded) == before
    go_on.set()
    wait_until(lambda: b.session.prepared((300, 3300)), 20, "the corner")
    assert len(ended) == 1, "it was not cancelled"
