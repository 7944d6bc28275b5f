"""Annotating real tissue with the shipped model: click, commit, undo, export, import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from skimage.measure import label

from napari_sampath.formats import import_labels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.gui, pytest.mark.data]

BAR = 0.5
"""Minimum IoU of a click or a box with the mask of the annotator."""


@pytest.fixture(scope="module")
def model() -> Any:
    from napari_sampath.predict import load_model

    return load_model("sampath-tiny", device="cpu")


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def read(data: Path, folder: str, name: str, components: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its objects (H, W)."""
    (file,) = (data / folder / "images").glob(f"{name}.*")
    values = np.array(Image.open(data / folder / "masks" / f"{name}.png")).astype(np.int32)
    return np.array(Image.open(file).convert("RGB")), label(
        values > 0, connectivity=1
    ) if components else values


@pytest.mark.parametrize(
    ("folder", "name", "components", "click"),
    [
        ("ebhi_glands", "Polyp_GTXC2110181-1-400-001", True, (82, 18)),
        ("ebhi_glands", "Lowgrade_IN_GT2013112-7-400-001", True, (179, 197)),
        ("bbbc038_nuclei", "test_17b9bf4356db", False, (472, 486)),
        ("bbbc038_nuclei", "train_5c6eb9a47852", False, (170, 204)),
    ],
)
def test_a_click_segments_the_clicked_object(
    open_window: Callable[..., Any],
    data_dir: Path,
    tmp_path: Path,
    model: Any,
    folder: str,
    name: str,
    components: bool,
    click: tuple[int, int],
) -> None:
    pixels, objects = read(data_dir, folder, name, components)
    x, y = click
    target = objects == objects[y, x]
    assert objects[y, x] > 0
    window = open_window(pixels, model, name=name)
    window.driver.click(x, y)
    window.answered()
    painted = window.layers.candidate.data > 0
    assert painted[y, x]
    assert iou(painted, target) > BAR

    window.driver.key(Qt.Key.Key_Return)
    assert np.array_equal(window.layers.objects.data > 0, painted)
    window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not window.layers.objects.data.any()
    window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)

    window.session.files.export(tmp_path)
    back = import_labels(tmp_path, name)
    assert np.array_equal(back.class_map, window.layers.classes.data)
    assert np.array_equal(back.instance_map, window.layers.objects.data)


def test_a_box_segments_a_large_gland(open_window: Callable[..., Any], data_dir: Path, model: Any) -> None:
    pixels, objects = read(data_dir, "ebhi_glands", "Polyp_GTXC2110181-1-400-001", components=True)
    sizes = np.bincount(objects.ravel())
    sizes[0] = 0
    target = objects == int(sizes.argmax())
    rows, cols = np.flatnonzero(target.any(axis=1)), np.flatnonzero(target.any(axis=0))
    window = open_window(pixels, model)
    window.driver.drag([(cols[0], rows[0]), (cols[-1], rows[-1])])
    window.answered()
    assert iou(window.layers.candidate.data > 0, target) > 0.7
