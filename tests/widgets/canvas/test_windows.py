"""Label layers that hold a window of the image: painting, filling and moving, compared with a plain array."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt

from napari_sampath.arrays import LocalMask
from napari_sampath.session import large_changes
from napari_sampath.widgets.canvas.napari_internals.napari_canvas import node_of
from napari_sampath.widgets.canvas.stroke_input import FILL_LEAVES_VIEW
from napari_sampath.widgets.canvas.viewport import box_in_view, camera
from napari_sampath.widgets.canvas.windows import content, label_window
from napari_sampath.widgets.canvas.windows.label_window import choose_window
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui

HW = (420, 620)
WINDOW_PX = 128
ROUNDS = 9
UNDO = Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def pale() -> np.ndarray:
    return np.random.default_rng(0).integers(200, 255, (*HW, 3)).astype(np.uint8)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_window, "WHOLE_PX", WINDOW_PX)


def look(window: Any, row: float, col: float, step: float) -> None:
    """Look at an image pixel with a view of three quarters of a window at this step, and wait for the window."""
    viewer, image = window.viewer, window.image
    sides = window.driver.native.height(), window.driver.native.width()
    scale = float(image.scale[-1])
    camera(viewer).center = tuple(image.data_to_world((row, col))[-2:])
    camera(viewer).zoom = max(sides) / (0.75 * WINDOW_PX * step) / scale
    sync = window.annotator.layer_sync

    def right() -> bool:
        view = box_in_view(viewer, image, HW)
        wanted = choose_window(HW, view, sides, WINDOW_PX)
        return sync.window.step == wanted.step and sync.window.contains(view)

    wait_until(right, 10, "the window to follow the camera")


def seen(window: Any) -> tuple[int, int, int, int]:
    """The box in view without its border, where the mouse can draw."""
    r0, c0, r1, c1 = box_in_view(window.viewer, window.image, HW)
    rows, cols = (r1 - r0) // 10 + 1, (c1 - c0) // 10 + 1
    return r0 + rows, c0 + cols, r1 - rows, c1 - cols


def coarse(values: np.ndarray, step: int) -> np.ndarray:
    """The value of each block of step x step pixels, cut off at the edges; -1 for blocks of several values."""
    values = values.astype(int)
    height, width = -(-values.shape[0] // step), -(-values.shape[1] // step)
    padded = np.pad(
        values, ((0, height * step - values.shape[0]), (0, width * step - values.shape[1])), mode="edge"
    )
    blocks = padded.reshape(height, step, width, step)
    low, high = blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))
    return np.where(low == high, low, -1)


def assert_shown(window: Any, plain: np.ndarray) -> None:
    """The layers show the document in their window, and the document is the plain array."""
    place, document = window.annotator.layer_sync.window, window.session.document
    r0, c0, r1, c1 = place.box
    assert np.array_equal(document.class_map, plain)
    for layer, values in (
        (window.layers.classes, plain),
        (window.layers.objects, np.asarray(document.instance_map)),
    ):
        blocks = coarse(values[r0:r1, c0:c1], place.step)
        assert layer.data.shape == place.shape == blocks.shape
        same = blocks >= 0
        assert np.array_equal(layer.data[same], blocks[same])
        assert same.any()


class Strokes:
    """Writes what napari paints on the class layer into a plain array of the size of the image."""

    def __init__(self, window: Any) -> None:
        self.plain = np.zeros(HW, np.uint8)
        self._window = window
        window.layers.classes.events.paint.connect(self._on_paint, position="first")

    def _on_paint(self, event: Any) -> None:
        place = self._window.annotator.layer_sync.window
        for atom in event.value:
            if not hasattr(atom, "slice_key"):  # napari before 0.9: indices, old values, new value.
                (row, col), _, value = atom
                hit = np.zeros((row.max() - row.min() + 1, col.max() - col.min() + 1), bool)
                hit[row - row.min(), col - col.min()] = True
                row, col = row.min(), col.min()
            else:
                rows, cols = atom.slice_key[-2:]
                row, col, value = rows.start, cols.start, atom.new_value
                shape = rows.stop - row, cols.stop - col
                hit = np.ones(shape, bool) if atom.mask is None else np.asarray(atom.mask)
            top, left = place.row + row * place.step, place.col + col * place.step
            block = np.kron(hit, np.ones((place.step, place.step), bool))
            target = self.plain[top : top + block.shape[0], left : left + block.shape[1]]
            target[block[: target.shape[0], : target.shape[1]]] = value


def test_random_strokes_at_every_zoom_change_the_pixels_on_screen(
    open_window: Callable[..., Any],
    pale: np.ndarray,
    small_windows: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Strokes when zoomed out are computed in a worker, like those of more than 4 megapixels.
    monkeypatch.setattr(large_changes, "LARGE_PX", 600)
    window = open_window(pale, DiscModel())
    window.session.classes.add("stroma")
    strokes, rng = Strokes(window), np.random.default_rng(7)
    labels, modes = window.layers.classes, type(window.annotator.mode)
    steps = set()
    for turn in range(ROUNDS):
        look(window, rng.uniform(20, HW[0] - 20), rng.uniform(20, HW[1] - 20), (1, 2, 4, 0.3)[turn % 4])
        place = window.annotator.layer_sync.window
        steps.add(place.step)
        assert max(place.shape) <= WINDOW_PX
        assert_shown(window, strokes.plain)
        r0, c0, r1, c1 = seen(window)
        path = [(float(rng.uniform(c0, c1)), float(rng.uniform(r0, r1))) for _ in range(3)]
        window.session.active_class = int(rng.integers(1, 3))
        window.annotator.choose_mode(modes("erase" if turn % 5 == 4 else "brush"))
        labels.brush_size = int(rng.integers(1, 12))
        window.driver.drag(path)
        wait_until(lambda: window.annotator.settled, 5, "the end of the stroke")
        assert_shown(window, strokes.plain)
        x, y = path[0]
        erased = 0 if turn % 5 == 4 else window.session.active_class
        half = place.step
        around = strokes.plain[
            max(0, round(y) - half) : round(y) + half + 1, max(0, round(x) - half) : round(x) + half + 1
        ]
        assert (around == erased).any(), "the stroke begins under the mouse"
    assert steps >= {1, 2, 4}
    # Whatever is in view, undo takes back the strokes one by one.
    before = strokes.plain.copy()
    window.driver.key(*UNDO)
    assert not np.array_equal(window.session.document.class_map, before)
    window.driver.key(Qt.Key.Key_Z, UNDO[1] | Qt.KeyboardModifier.ShiftModifier)
    assert_shown(window, before)
    for _ in range(ROUNDS + 1):
        window.driver.key(*UNDO)
    assert_shown(window, np.zeros(HW, np.uint8))


def test_the_bucket_fills_what_is_in_view_and_refuses_what_goes_on(
    open_window: Callable[..., Any], pale: np.ndarray, small_windows: None
) -> None:
    window = open_window(pale, DiscModel())
    strokes = Strokes(window)
    labels, modes = window.layers.classes, type(window.annotator.mode)
    look(window, 200, 300, 2)
    window.annotator.choose_mode(modes("brush"))
    labels.brush_size = 4
    window.driver.drag([(280, 180), (320, 180), (320, 220), (280, 220), (280, 180)])
    ring = strokes.plain.copy()
    assert_shown(window, ring)
    window.viewer.layers.selection.active = labels
    labels.mode = "fill"
    window.driver.click(300, 200)
    assert_shown(window, strokes.plain)
    assert (strokes.plain[190:210, 290:310] == 1).all()
    filled = strokes.plain.copy()

    window.driver.click(265, 165)
    wait_until(lambda: window.text == FILL_LEAVES_VIEW, 5, "the sentence")
    assert_shown(window, filled)
    labels.contiguous = False
    window.driver.click(300, 200)
    assert_shown(window, filled)


def test_a_polygon_stays_on_the_image_when_the_window_moves(
    open_window: Callable[..., Any], pale: np.ndarray, small_windows: None
) -> None:
    window = open_window(pale, DiscModel())
    labels = window.layers.classes
    look(window, 200, 300, 1)
    window.viewer.layers.selection.active = labels
    labels.mode = "polygon"
    window.driver.click(270, 180)
    window.driver.click(330, 180)
    look(window, 240, 300, 2)
    window.driver.click(330, 280)
    window.driver.click(270, 280)
    window.driver.double_click(270, 280)
    inside = np.zeros(HW, bool)
    inside[180:280, 270:330] = True
    drawn = np.asarray(window.session.document.class_map) == 1
    assert (drawn & inside).sum() / (drawn | inside).sum() > 0.9
    assert_shown(window, drawn.astype(np.uint8))
    window.driver.key(*UNDO)
    assert_shown(window, np.zeros(HW, np.uint8))


def test_prompts_and_objects_are_shown_in_whatever_window(
    open_window: Callable[..., Any], pale: np.ndarray, small_windows: None
) -> None:
    window = open_window(pale, DiscModel())
    look(window, 210, 300, 4)
    window.driver.click(300, 200)
    window.answered()
    candidate = window.session.prompts.candidate.mask.to_dense(HW)
    for row, col, step in ((200, 300, 1), (60, 80, 1), (210, 300, 4)):
        look(window, row, col, step)
        place = window.annotator.layer_sync.window
        r0, c0, r1, c1 = place.box
        blocks = coarse(candidate[r0:r1, c0:c1].astype(int), place.step)
        shown = window.layers.candidate.data
        assert np.array_equal(shown == 1, blocks != 0), "each pixel that the mask touches is shown"
    window.driver.key(Qt.Key.Key_Return)
    wait_until(lambda: len(window.session.document.objects) == 1, 5, "the commit")
    look(window, 200, 300, 1)
    assert_shown(window, candidate.astype(np.uint8))
    look(window, 60, 80, 1)
    assert not window.layers.classes.data.any()
    window.driver.key(*UNDO)
    look(window, 200, 300, 1)
    assert_shown(window, np.zeros(HW, np.uint8))


def test_windows_lie_on_a_turned_and_scaled_image(
    open_window: Callable[..., Any], pale: np.ndarray, small_windows: None
) -> None:
    window = open_window(
        pale,
        DiscModel(),
        scale=(0.25, 0.25),
        translate=(100, -40),
        rotate=30,
        affine=[[0, 1, 5], [-2, 0, 3], [0, 0, 1]],
    )
    for step, change in (
        (1, {}),
        (4, {}),
        (4, {"scale": (0.5, 0.5)}),
        (2, {"translate": (7, 9)}),
        (1, {"rotate": 75}),
    ):
        for name, value in change.items():
            setattr(window.image, name, value)
        window.viewer.reset_view()
        look(window, 200, 300, step)
        place = window.annotator.layer_sync.window
        window.layers.objects.visible = (
            step == 1
        )  # A hidden layer is moved, too, and drawn where it is shown next.
        for row, col in ((0, 0), (5, 90)):
            at = place.row + (row + 0.5) * place.step - 0.5, place.col + (col + 0.5) * place.step - 0.5
            world = window.image.data_to_world(at)
            for layer in window.layers.labels():
                assert np.allclose(layer.data_to_world((row, col)), world)
                if layer.visible:
                    drawn = node_of(window.viewer, layer).transform.map((col + 0.5, row + 0.5))[1::-1]
                    assert np.allclose(drawn, world, atol=1e-3)


def test_the_window_follows_the_size_of_the_canvas(
    open_window: Callable[..., Any], pale: np.ndarray, small_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_window, "WHOLE_PX", 300)
    window = open_window(pale, DiscModel())
    shell, sync, native = window.viewer.window._qt_window, window.annotator.layer_sync, window.driver.native

    def is_right() -> bool:
        view = box_in_view(window.viewer, window.image, HW)
        wanted = choose_window(HW, view, (native.height(), native.width()), 300)
        return sync.window.step == wanted.step and sync.window.contains(view)

    wide = native.width()
    shell.resize(1000, shell.height())
    wait_until(lambda: native.width() < wide - 100, 5, "the narrow window")
    camera(window.viewer).center = tuple(window.image.data_to_world((200, 300))[-2:])
    camera(window.viewer).zoom = max(native.width(), native.height()) / 240
    wait_until(is_right, 5, "the window of the narrow view")
    before = sync.window
    assert before.step == 1
    shell.resize(1800, shell.height())
    wait_until(lambda: native.width() > wide + 300, 5, "the wide window")
    wait_until(is_right, 5, "the window of the wide view")
    assert sync.window != before
    assert_shown(window, np.zeros(HW, np.uint8))


def test_layers_keep_their_window_while_the_next_is_read(
    open_window: Callable[..., Any], pale: np.ndarray, small_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = open_window(pale, DiscModel())
    sync, session = window.annotator.layer_sync, window.session
    look(window, 100, 100, 1)
    before, go_on, plain_read = sync.window, threading.Event(), content._read

    def slow_read(*args: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            assert go_on.wait(20)
        return plain_read(*args)

    monkeypatch.setattr(content, "_read", slow_read)
    wanted = window.image.data_to_world((300, 450))[-2:]
    camera(window.viewer).center = tuple(wanted)
    wait_until(lambda: sync._follower._runner.busy, 5, "the reading of the next window")
    plain = np.zeros(HW, np.uint8)
    for row, col in ((90, 95), (290, 450)):  # In the current window, and in the next one.
        plain[row : row + 20, col : col + 20] = 1
        session.paint_mask(LocalMask(row, col, np.ones((20, 20), bool)), 1)
    assert sync.window == before
    assert_shown(window, plain)
    go_on.set()
    wait_until(lambda: sync.window != before, 10, "the next window")
    assert sync.window.contains((290, 450, 310, 470))
    assert_shown(window, plain)
    # A stroke that begins while the next window is being read reads it at once.
    go_on.clear()
    camera(window.viewer).center = tuple(window.image.data_to_world((100, 100))[-2:])
    wait_until(lambda: sync._follower._runner.busy, 5, "the reading of the next window")
    strokes = Strokes(window)
    strokes.plain[:] = plain
    window.annotator.choose_mode(type(window.annotator.mode)("brush"))
    window.layers.classes.brush_size = 5
    window.driver.drag([(95, 60), (110, 70)])
    assert sync.window.contains((60, 95, 70, 110))
    assert strokes.plain.sum() > plain.sum()
    assert_shown(window, strokes.plain)
    go_on.set()

    # Labels of the own window that arrive during a stroke or an outline are read again after it.
    go_on.clear()
    window.layers.classes.data[...] = 0
    sync._follower.read(sync.window)
    sync._strokes.pressed = (0, 0)
    go_on.set()
    wait_until(lambda: not sync._follower._runner.busy, 5, "the end of the reading")
    assert not window.layers.classes.data.any()
    sync._strokes.pressed = None
    wait_until(window.layers.classes.data.any, 5, "the labels")
    assert_shown(window, strokes.plain)

    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(content, "_read", fails)
    sync._follower.read(sync.window)
    wait_until(lambda: "while reading the annotations in view" in window.text, 5, "the message")
