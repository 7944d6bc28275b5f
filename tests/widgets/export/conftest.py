"""A window with the Export dock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


@pytest.fixture
def window(open_window: Callable[..., Any], tissue: np.ndarray) -> Any:
    return open_window(tissue, DiscModel())


@pytest.fixture
def dock(window: Any) -> Any:
    from napari_sampath.widgets.export.dock import ExportDock

    dock = ExportDock(window.viewer, window.state)
    window.viewer.window.add_dock_widget(dock, name="export", area="right", tabify=True)
    return dock
