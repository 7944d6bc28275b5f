"""Layers without a window: masks, strokes, scribbles, outlines, colours and progress texts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_sampath.annotations import bounds
from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.formats.rings import trace
from napari_sampath.jobs import Progress
from napari_sampath.widgets.canvas import layers as session_layers
from napari_sampath.widgets.canvas.appearance import class_colors
from napari_sampath.widgets.canvas.napari_internals.partial_refresh import ObjectLabels
from napari_sampath.widgets.canvas.overlays.overlay_line import outline_segments
from napari_sampath.widgets.canvas.strokes import lasso_mask, scribble_mask, stroke_of

if TYPE_CHECKING:
    from collections.abc import Callable

HW = (24, 31)
masks = st.builds(
    LocalMask,
    st.integers(-5, 20),
    st.integers(-5, 28),
    arrays(np.bool_, st.tuples(st.integers(0, 12), st.integers(0, 12))),
)


def outline_colormap() -> DirectLabelColormap:
    return DirectLabelColormap(color_dict={None: (0.0, 0.0, 0.0, 1.0), 0: (0.0, 0.0, 0.0, 0.0)})


def dense(mask: LocalMask) -> np.ndarray:
    """Paint a mask into an image pixel by pixel, clipped to the image."""
    image = np.zeros(HW, dtype=bool)
    for row, col in zip(*np.nonzero(mask.bitmap), strict=True):
        if 0 <= row + mask.row < HW[0] and 0 <= col + mask.col < HW[1]:
            image[row + mask.row, col + mask.col] = True
    return image


def test_colour_maps_use_one_numba_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several threads slow down small maps and all prompts."""
    numba = pytest.importorskip("numba")
    from napari.utils.colormaps import _accelerated_cmap

    threads = []

    def noting(loop: Callable[..., Any]) -> Callable[..., Any]:
        def noted(values: np.ndarray, *rest: Any, **named: Any) -> Any:
            if values.size:
                threads.append(numba.get_num_threads())
            return loop(values, *rest, **named)

        return noted

    for name in ("_labels_raw_to_texture_direct_inner_loop", "_zero_preserving_modulo_inner_loop"):
        monkeypatch.setattr(_accelerated_cmap, name, noting(getattr(_accelerated_cmap, name)))
    data = np.zeros((64, 64), np.int32)
    layer = ObjectLabels(data, filled=lambda: [(8, 8, 20, 20)], colormap=outline_colormap())
    data[8:20, 8:20] = 70_000
    layer.refresh()
    session_layers.recolour(layer, outline_colormap())
    assert set(threads) == {1}
    assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_a_mask_replaces_the_previous_one(first: LocalMask, second: LocalMask) -> None:
    layer = Labels(np.zeros(HW, np.uint8))
    strokes = []
    layer.events.paint.connect(strokes.append)
    session_layers.write_mask(layer, first, None)
    assert np.array_equal(layer.data == 1, dense(first))
    old = bounds(first) if first.bitmap.size else None
    session_layers.write_mask(layer, second, old)
    assert np.array_equal(layer.data == 1, dense(second))
    session_layers.write_mask(layer, None, bounds(second) if second.bitmap.size else None)
    assert not layer.data.any()
    assert not strokes, "writing emits no paint event"


def some_boxes(layer: Labels, seed: int) -> list[tuple[int, int, int, int]]:
    random = np.random.default_rng(seed)
    boxes = []
    for _ in range(12):
        r0, c0 = (int(random.integers(0, side - 10)) for side in layer.data.shape)
        boxes.append((r0, c0, r0 + 10, c0 + 10))
        session_layers.write(
            layer, boxes[-1], np.kron(random.integers(0, 4, (2, 2)), np.ones((5, 5), int)).astype(np.uint8)
        )
    return boxes


@pytest.mark.parametrize("contour", [0, 1])
def test_the_texture_follows_written_data(contour: int) -> None:
    """A partial repaint gives the same texture as a full one."""
    layer = Labels(np.zeros((60, 80), np.uint8))
    layer.contour = contour
    some_boxes(layer, 1)
    partial = layer._slice.image.view.copy()
    layer.refresh()
    assert np.array_equal(partial, layer._slice.image.view)
    assert layer._slice.image.view.any()


def test_only_the_changed_box_is_sent_and_napari_records_no_history() -> None:
    layer = Labels(np.zeros((600, 800), np.uint8))
    sent: list[tuple[list[int], tuple[int, ...]]] = []
    layer.events.labels_update.connect(lambda event: sent.append((list(event.offset), event.data.shape)))
    layer.events.set_data.connect(lambda event: pytest.fail("all of it was repainted"))
    session_layers.write(layer, (300, 400, 310, 420), np.ones((10, 20), np.uint8))
    session_layers.write(layer, (300, 400, 310, 420), np.ones((10, 20), np.uint8))
    assert sent == [([300, 400], (10, 20))], "once, and only the changed box"
    layer.undo()
    assert layer.data.sum() == 200


def test_a_hidden_layer_is_repainted_when_it_is_shown() -> None:
    layer = ObjectLabels(np.zeros((60, 80), np.int32), filled=lambda: [(0, 0, 60, 80)])
    layer.visible = False
    session_layers.write(layer, (10, 10, 20, 20), np.ones((10, 10), np.int32))
    layer.visible = True
    assert layer._slice.image.view[10, 10]


@pytest.mark.parametrize("seed", range(4))
def test_outlines_equal_those_of_napari(seed: int) -> None:
    """Partial and full repaint are compared with the contour of napari's Labels."""
    filled: list[tuple[int, int, int, int]] = []
    objects = ObjectLabels(np.zeros((60, 80), np.int32), filled=lambda: filled, colormap=outline_colormap())
    filled += some_boxes(objects, seed)
    plain = Labels(objects.data.copy(), colormap=outline_colormap())
    plain.contour = 1
    assert plain._slice.image.view.any()
    assert np.array_equal(objects._slice.image.view, plain._slice.image.view)
    objects.refresh()
    assert np.array_equal(objects._slice.image.view, plain._slice.image.view)
    objects.contour = plain.contour = 0
    assert np.array_equal(objects._slice.image.view, plain._slice.image.view), (
        "filled areas, if the user sets no contour"
    )
    assert objects.as_layer_data_tuple()[2] == "labels"


@given(masks)
def test_the_outline_of_a_mask_equals_that_of_its_polygons(mask: LocalMask) -> None:
    segments = outline_segments(mask).reshape(-1, 2, 2)
    assert np.allclose(np.abs(np.diff(segments, axis=1)).sum(axis=-1), 1), "each segment is one pixel edge"
    if not mask.bitmap.any():
        assert not len(segments)
    else:
        length = sum(np.abs(np.diff(ring, axis=0)).sum() for polygon in trace(mask) for ring in polygon)
        assert len(segments) == length
        rows, cols = np.nonzero(mask.bitmap)
        low = np.array([cols.min() + mask.col, rows.min() + mask.row]) - 0.5
        high = np.array([cols.max() + mask.col, rows.max() + mask.row]) + 0.5
        assert np.array_equal(segments.min(axis=(0, 1)), low)
        assert np.array_equal(segments.max(axis=(0, 1)), high)


@settings(max_examples=60, deadline=None)
@given(st.floats(-5, 35), st.floats(-5, 35), st.floats(3, 20), st.integers(3, 30))
def test_a_lasso_fills_its_interior(x: float, y: float, radius: float, count: int) -> None:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    path = [(x + radius * np.cos(angle), y + radius * np.sin(angle)) for angle in angles]
    mask = lasso_mask(path, HW)
    painted = mask.to_dense(HW) if mask.bitmap.size else np.zeros(HW, bool)
    rows, cols = np.mgrid[: HW[0], : HW[1]]
    distance = np.hypot(rows - y, cols - x)
    assert not painted[distance > radius + 1e-6].any()
    assert painted[distance < radius * np.cos(np.pi / count) - 1e-6].all()


def test_the_class_layer_has_the_class_colours() -> None:
    classes = [ClassInfo(1, "gland", (255, 0, 0)), ClassInfo(7, "stroma", (0, 0, 255))]
    colors = class_colors(classes).color_dict
    np.testing.assert_allclose(colors[1], (1, 0, 0, 1))
    np.testing.assert_allclose(colors[7], (0, 0, 1, 1))
    assert colors[0][3] == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-10, 40), st.floats(-10, 40)), min_size=1, max_size=5),
    st.floats(2, 12),
)
def test_a_scribble_covers_its_path_exactly(path: list[tuple[float, float]], width: float) -> None:
    """The mask is compared with the distance of every pixel from the path."""
    mask = scribble_mask(path, width, HW)
    painted = mask.to_dense(HW) if mask.bitmap.size else np.zeros(HW, bool)
    cols, rows = np.meshgrid(np.arange(HW[1]), np.arange(HW[0]))
    distance = np.full(HW, np.inf)
    for (x0, y0), (x1, y1) in zip([path[0], *path[:-1]], path, strict=True):
        length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9)
        share = np.clip(((cols - x0) * (x1 - x0) + (rows - y0) * (y1 - y0)) / length, 0, 1)
        distance = np.minimum(
            distance, np.hypot(cols - x0 - share * (x1 - x0), rows - y0 - share * (y1 - y0))
        )
    assert painted[distance < width / 2 - 1].all()
    assert not painted[distance > width / 2 + 1].any()


def test_paint_events_of_both_napari_versions_are_read() -> None:
    data = np.zeros(HW, dtype=np.uint8)
    data[8, 5] = 7
    mask = np.zeros((6, 2), dtype=bool)
    mask[0, 1] = True
    new = SimpleNamespace(slice_key=(slice(3, 9), slice(4, 6)), mask=mask, new_value=2)
    full = SimpleNamespace(slice_key=(slice(4, 6), slice(4, 6)), mask=None, new_value=3)
    old = ((np.array([1, 2, 20]), np.array([5, 7, 30])), np.zeros(3), 1)
    stroke = stroke_of([new], data)
    assert stroke.box == (3, 4, 9, 6)
    expected = data[3:9, 4:6].copy()
    expected[0, 1] = 2
    np.testing.assert_array_equal(stroke.after, expected)
    np.testing.assert_array_equal(stroke.touched, mask)
    several = stroke_of([new, full, old], data)
    assert several.box == (1, 4, 21, 31)
    expected = data.copy()
    expected[3, 5], expected[4:6, 4:6], expected[[1, 2, 20], [5, 7, 30]] = 2, 3, 1
    np.testing.assert_array_equal(several.after, expected[1:21, 4:31])
    np.testing.assert_array_equal(several.touched, (expected != data)[1:21, 4:31])
    unknown = stroke_of(["something else"], data)
    assert unknown.box == (0, 0, *HW)
    np.testing.assert_array_equal(unknown.after, data)
    assert unknown.touched.all()
    assert stroke_of([], data).box == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("progress", "elapsed_s", "text"),
    [
        (
            Progress(3, 12, "Preparing the image", "parts"),
            6,
            "Preparing the image: 3 of 12 parts, 0.5 per second, 18 s left",
        ),
        (Progress(12, 12, "Preparing the image", "parts"), 6, "Preparing the image: 12 of 12 parts"),
        (Progress(0, 0, "Loading vit_b"), 3, "Loading vit_b …"),
        (
            Progress(1e8, 4e8, "Downloading", "bytes"),
            10,
            "Downloading: 100 of 400 MB, 10.0 MB/s, 30 s left",
        ),
        (Progress(1, 1000, "Working", "steps"), 10, "Working: 1 of 1000 steps, 0.1 per second, 2.8 h left"),
    ],
)
def test_progress_text(progress: Progress, elapsed_s: float, text: str) -> None:
    from napari_sampath.widgets.common.status_line import describe

    assert describe(progress, elapsed_s) == text
