"""The plugin works through napari's public API, if slower, where a private member of napari is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels, Points, Shapes
from qtpy.QtCore import Qt

from napari_sampath.widgets.canvas import layers as session_layers
from napari_sampath.widgets.canvas.napari_internals import napari_canvas, partial_refresh
from napari_sampath.widgets.canvas.napari_internals.label_tools import drop_unfinished, is_outlining
from napari_sampath.widgets.canvas.napari_internals.layer_list import HiddenRows
from napari_sampath.widgets.canvas.viewport import box_in_view, look_at
from support.models.discs import DiscModel

pytestmark = pytest.mark.gui


def test_prompts_are_answered_and_committed_without_the_canvas(
    open_window: Callable[..., Any], tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    node_of = napari_canvas.node_of
    with monkeypatch.context() as patch:
        patch.setattr(napari_canvas, "canvas_of", lambda _viewer: None)
        window = open_window(tissue, DiscModel())
        assert box_in_view(window.viewer, window.image, (120, 160)) == (0, 0, 120, 160)
        look_at(window.viewer, window.image, (0, 0, 120, 160))
        napari_canvas.make_context_current(window.viewer)
        window.driver.click(50, 60)
        window.answered()
        window.driver.key(Qt.Key.Key_Return)
        assert len(window.session.document.objects) == 1
        assert window.layers.objects.data[60, 50] == 1
        assert window.annotator.preview.line._lines == [], "there is nothing to draw the line in"
    empty = window.layers.candidate
    assert node_of(window.viewer, empty).visible, "napari draws the whole layer"


def test_a_viewer_without_a_qt_window_has_no_canvas(viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delattr(type(viewer.window), "_qt_viewer")
        assert napari_canvas.canvas_of(viewer) is None
        assert napari_canvas.canvas_size(viewer) is None
    assert napari_canvas.canvas_size(viewer) is not None


def test_a_changed_box_is_shown_without_the_event_of_the_brush(
    viewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = viewer.add_labels(np.zeros((60, 80), np.uint8))
    before = viewer.screenshot(canvas_only=True, flash=False)
    refreshed: list[bool] = []
    refresh = layer.refresh
    monkeypatch.setattr(layer, "refresh", lambda **options: (refreshed.append(True), refresh(**options)))
    layer.events.labels_update.disconnect()
    with monkeypatch.context() as patch:
        patch.delattr(layer.events, "labels_update")
        session_layers.write(layer, (10, 10, 30, 40), np.ones((20, 30), np.uint8))
    assert refreshed
    assert not np.array_equal(viewer.screenshot(canvas_only=True, flash=False), before)


def test_napari_draws_the_outlines_if_it_does_not_call_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.zeros((40, 50), np.int32)
    ids[10:20, 10:30] = 3
    boxes = [(10, 10, 20, 30)]
    ours = partial_refresh.ObjectLabels(ids, filled=lambda: boxes)
    monkeypatch.delattr(partial_refresh.ObjectLabels, "_raw_to_displayed")
    theirs = partial_refresh.ObjectLabels(ids, filled=lambda: boxes)
    shown = [np.asarray(layer._slice.image.view) for layer in (ours, theirs)]
    assert shown[1][10, 10] != shown[1][15, 15], "only the outline is drawn"
    assert shown[0][10, 10] != shown[0][15, 15]


@pytest.mark.parametrize("kind", [Points, Shapes])
def test_prompts_are_shown_without_the_block_on_refreshing(
    viewer: Any, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    layer = viewer.add_layer(kind(None, ndim=2))
    with monkeypatch.context() as patch:
        patch.setattr(kind, "_block_refresh", property(), raising=False)  # Reading it raises AttributeError.
        assert not hasattr(layer, "_block_refresh")
        if kind is Points:
            session_layers.show_points(layer, np.array([(5.0, 7.0)]), [True])
            assert layer.data.tolist() == [[7, 5]]
        else:
            session_layers.show_boxes(layer, [(1, 2, 11, 22)])
            assert layer.nshapes == 1


def test_all_rows_are_shown_without_napari_s_layer_list(viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = viewer.add_labels(np.zeros((20, 20), np.uint8))
    view = viewer.window._qt_viewer.layers
    with monkeypatch.context() as patch:
        patch.delattr(type(viewer.window), "_qt_viewer")
        rows = HiddenRows(viewer, lambda _layer: True)
        viewer.layers.selection.active = layer
        rows.update()
        assert not view.isRowHidden(0)
        napari_canvas.focus_canvas(viewer)
    rows.update()
    assert view.isRowHidden(0)
    rows.close()
    assert not view.isRowHidden(0)


def test_no_outline_or_polygon_is_unfinished_without_napari_s_overlays() -> None:
    layer = Labels(np.zeros((20, 20), np.uint8))
    for name in ("polygon", "brush_stroke"):
        layer._overlays.pop(name, None)
    assert not is_outlining(layer)
    assert not drop_unfinished(layer)
