"""Painting after the user has renamed, moved or hidden the label layers, or has looked at them in 3D or in a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until

from napari_sampath.widgets.canvas.viewport import camera
from napari_sampath.widgets.canvas.windows import label_window
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui

HW = (420, 620)


def test_strokes_go_on_after_the_user_has_changed_the_layers(
    open_window: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_window, "WHOLE_PX", 256)  # The layers hold a part of the image.
    window = open_window(np.random.default_rng(0).integers(200, 255, (*HW, 3)).astype(np.uint8), DiscModel())
    viewer, labels, sync = window.viewer, window.layers.classes, window.annotator.layer_sync

    def look(row: float, col: float) -> None:
        camera(viewer).center = tuple(window.image.data_to_world((row, col))[-2:])
        camera(viewer).zoom = 8
        wait_until(
            lambda: sync.window.step == 1 and sync.window.contains((row - 30, col - 30, row + 30, col + 30)),
            10,
            "the window",
        )

    def hide() -> None:
        labels.visible = False
        look(300, 300)
        labels.visible = True

    layout = getattr(viewer, "canvas", viewer).grid  # napari before 0.9 has it in the viewer.

    def grid() -> None:
        layout.enabled = True
        look(100, 300)
        layout.enabled = False

    def three_dimensions() -> None:
        viewer.dims.ndisplay = 3
        viewer.dims.ndisplay = 2

    changes = {
        "rename": lambda: setattr(labels, "name", "mine"),
        "reorder": lambda: viewer.layers.move(viewer.layers.index(labels), len(viewer.layers)),
        "hide": hide,
        "grid": grid,
        "3D": three_dimensions,
    }
    for number, (name, change) in enumerate(changes.items()):
        change()
        row, col = 60 + 60 * number, 100 + 90 * number
        look(row, col)
        window.annotator.choose_mode(type(window.annotator.mode)("brush"))
        labels.brush_size = 5
        window.driver.drag([(col - 10, row), (col + 10, row)])
        wait_until(lambda: window.annotator.settled, 5, "the end of the stroke")
        document = window.session.document
        painted = document.class_map[row - 6 : row + 7, col - 10 : col + 11]
        assert (painted[6] == 1).all(), name
        assert not painted[0].any(), name
        r0, c0, r1, c1 = sync.window.box
        assert np.array_equal(labels.data, document.class_map[r0:r1, c0:c1]), name
        assert np.array_equal(window.layers.objects.data, document.instance_map[r0:r1, c0:c1]), name
