"""The buttons of the Project dock without a project: images, slides, and files that cannot be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_sampath.widgets.canvas.slide_layer import slide_of
from napari_sampath.widgets.project.dock import ProjectDock

pytestmark = pytest.mark.gui


def test_images_and_slides_are_opened_and_other_files_are_said(
    tissue: np.ndarray, tmp_path: Path, viewer: Any
) -> None:
    image, slide, damaged, text = (tmp_path / name for name in ("a.png", "b.svs", "c.png", "d.txt"))
    Image.fromarray(tissue).save(image)
    description = "Aperio Image Library v11\r\n160x120|MPP = 0.5"
    tifffile.imwrite(slide, tissue, photometric="rgb", tile=(64, 64), description=description, metadata=None)
    damaged.write_bytes(image.read_bytes()[:200])
    text.write_text("no image")
    dock = ProjectDock(viewer)
    viewer.window.add_dock_widget(dock, name="Project")
    messages: list[str] = []
    dock.state.message.connect(messages.append)
    dock.start.open_images([image, slide, damaged, text])
    names = {
        layer.name: slide_of(layer) is not None for layer in viewer.layers if layer.name in ("a", "b", "c")
    }
    assert names == {"a": False, "b": True}
    (message,) = [message for message in messages if message.startswith("Opened")]
    assert message.startswith("Opened 2 images.")
    assert f"'{damaged}' cannot be opened (" in message
    assert f"'{text}' cannot be opened (" in message
