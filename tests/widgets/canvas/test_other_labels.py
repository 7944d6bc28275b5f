"""Objects of label layers that are not the session's."""

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
def test_an_object_is_what_hangs_together_however_far_it_reaches(
    labels: np.ndarray, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, labels.shape[0] - 1))
    col = data.draw(st.integers(0, labels.shape[1] - 1))
    labels[row, col] = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(other_labels, "FIRST_PX", 2)
        found = component_at(labels, row, col)
    pieces, _ = label(labels)
    assert np.array_equal(found.to_dense(labels.shape), pieces == pieces[row, col])


def disc(hw: tuple[int, int], row: float, col: float, radius: float) -> np.ndarray:
    rows, cols = np.mgrid[: hw[0], : hw[1]]
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


def test_a_layer_of_another_scale_and_place() -> None:
    image = Image(np.zeros((120, 160)), scale=(0.5, 0.5), translate=(10, 20))
    half = disc((60, 80), 30, 40, 10).astype(np.uint8)
    # A pixel of the layer is two by two of the image, whose centre lies half an image pixel further.
    labels = Labels(half, scale=(1, 1), translate=(10.25, 20.25))
    found = object_under(SimpleNamespace(layers=[image, labels]), image, 81, 61, (120, 160))
    assert found is not None
    assert np.array_equal(found.to_dense((120, 160)), np.kron(half, np.ones((2, 2))).astype(bool))


def test_a_turned_layer() -> None:
    image = Image(np.zeros((40, 50)), scale=(0.5, 0.5), translate=(3, 2))
    labels = Labels(disc((30, 30), 15, 15, 8).astype(np.uint8), rotate=30)
    labels.translate = np.array((13, 14)) - labels.data_to_world((15, 15))
    expected = np.zeros((40, 50), bool)
    for row, col in np.ndindex(40, 50):
        there = np.round(labels.world_to_data(image.data_to_world((row, col)))).astype(int)
        if (there >= 0).all() and (there < 30).all():
            expected[row, col] = labels.data[tuple(there)] > 0
    row, col = np.argwhere(expected).mean(axis=0)
    found = object_under(SimpleNamespace(layers=[labels]), image, col, row, (40, 50))
    assert found is not None
    assert expected.sum() > 300
    assert np.array_equal(found.to_dense((40, 50)), expected)


def test_what_is_not_shown_is_not_there() -> None:
    image = Image(np.zeros((20, 20)))
    below, above = Labels(np.full((20, 20), 2)), Labels(np.zeros((20, 20), int))
    above.data[4:8, 4:8] = 3
    viewer = SimpleNamespace(layers=[image, below, above])
    found = object_under(viewer, image, 5, 5, (20, 20))
    assert found is not None
    assert found.bitmap.sum() == 16, "the topmost layer"
    above.visible = False
    found = object_under(viewer, image, 5, 5, (20, 20))
    assert found is not None
    assert found.bitmap.sum() == 400
    below.visible = False
    assert object_under(viewer, image, 5, 5, (20, 20)) is None


@pytest.mark.gui
def test_a_label_of_the_users_own_is_the_mask_prompt(
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
    assert "no object here" in window.text
