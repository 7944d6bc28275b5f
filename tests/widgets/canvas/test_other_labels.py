"""Objects in label layers that do not belong to the session."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from napari.layers import Image, Labels
from scipy.ndimage import label

from napari_sampath.widgets.canvas import other_labels
from napari_sampath.widgets.canvas.other_labels import component_at, object_under
from napari_sampath.widgets.viewer.mouse import Mode
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable


@settings(max_examples=80, deadline=None)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)), st.data()
)
def test_an_object_is_a_connected_component_of_any_size(labels: np.ndarray, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, labels.shape[0] - 1))
    col = data.draw(st.integers(0, labels.shape[1] - 1))
    labels[row, col] = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(other_labels, "FIRST_PX", 2)
        mask = component_at(labels, row, col)
    pieces, _ = label(labels)
    assert np.array_equal(mask.to_dense(labels.shape), pieces == pieces[row, col])


def disc(hw: tuple[int, int], row: float, col: float, radius: float) -> np.ndarray:
    rows, cols = np.mgrid[: hw[0], : hw[1]]
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


def test_a_layer_with_another_scale_and_translation() -> None:
    image = Image(np.zeros((120, 160)), scale=(0.5, 0.5), translate=(10, 20))
    half = disc((60, 80), 30, 40, 10).astype(np.uint8)
    # A layer pixel covers 2 x 2 image pixels, so its centre is shifted by half an image pixel.
    labels = Labels(half, scale=(1, 1), translate=(10.25, 20.25))
    mask = object_under(SimpleNamespace(layers=[image, labels]), image, 81, 61, (120, 160))
    assert mask is not None
    assert np.array_equal(mask.to_dense((120, 160)), np.kron(half, np.ones((2, 2))).astype(bool))
    pyramid = Labels([half, half[::2, ::2]], multiscale=True, scale=(1, 1), translate=(10.25, 20.25))
    same = object_under(SimpleNamespace(layers=[image, pyramid]), image, 81, 61, (120, 160))
    assert same is not None
    assert np.array_equal(same.to_dense((120, 160)), mask.to_dense((120, 160)))


def test_a_rotated_layer() -> None:
    image = Image(np.zeros((40, 50)), scale=(0.5, 0.5), translate=(3, 2))
    labels = Labels(disc((30, 30), 15, 15, 8).astype(np.uint8), rotate=30)
    labels.translate = np.array((13, 14)) - labels.data_to_world((15, 15))
    expected = np.zeros((40, 50), bool)
    for row, col in np.ndindex(40, 50):
        place = np.round(labels.world_to_data(image.data_to_world((row, col)))).astype(int)
        if (place >= 0).all() and (place < 30).all():
            expected[row, col] = labels.data[tuple(place)] > 0
    row, col = np.argwhere(expected).mean(axis=0)
    mask = object_under(SimpleNamespace(layers=[labels]), image, col, row, (40, 50))
    assert mask is not None
    assert expected.sum() > 300
    assert np.array_equal(mask.to_dense((40, 50)), expected)


def test_hidden_layers_are_ignored() -> None:
    image = Image(np.zeros((20, 20)))
    below, above = Labels(np.full((20, 20), 2)), Labels(np.zeros((20, 20), int))
    above.data[4:8, 4:8] = 3
    viewer = SimpleNamespace(layers=[image, below, above])
    mask = object_under(viewer, image, 5, 5, (20, 20))
    assert mask is not None
    assert mask.bitmap.sum() == 16, "the topmost layer"
    above.visible = False
    mask = object_under(viewer, image, 5, 5, (20, 20))
    assert mask is not None
    assert mask.bitmap.sum() == 400
    below.visible = False
    assert object_under(viewer, image, 5, 5, (20, 20)) is None


@pytest.mark.gui
def test_an_object_of_a_user_s_label_layer_becomes_the_mask_prompt(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    own = disc((120, 160), 60, 115, 17)
    window.viewer.add_labels(own.astype(np.uint8), name="mine")
    window.viewer.layers.selection.active = window.image
    window.driver.press(window.dock.modes.buttons[Mode.MASK])
    window.driver.click(115, 60)
    window.answered()
    assert window.model.asked[-1].mask_logits is not None
    candidate = window.layers.candidate.data == 1
    assert (candidate & own).sum() / (candidate | own).sum() > 0.9
    window.driver.click(10, 10)
    assert "No visible label layer has an object here" in window.text
