"""Opening of image files and slides as layers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image

from ...errors import ImageError, first_line
from ...images.slides import is_slide
from .shown_image import source_file
from .slide_layer import add_slide

if TYPE_CHECKING:
    from napari.viewer import Viewer

logger = logging.getLogger(__name__)


def open_file(viewer: Viewer, path: Path) -> bool:
    """Open an image file or a slide as a layer, and return whether a layer was added.

    Raises:
        ImageError: If the file cannot be opened.
    """
    try:
        if is_slide(path):
            add_slide(viewer, path)
            return True
        return bool(viewer.open(str(path), stack=False))
    except ImageError:
        raise
    except Exception as error:
        logger.info("'%s' cannot be opened", path, exc_info=True)
        raise ImageError(
            f"'{path}' cannot be opened ({first_line(error)}); choose an image or a slide."
        ) from error


def show_layer_of(viewer: Viewer, path: Path) -> bool:
    """Show and select the image layer that was read from a file; return False if there is none."""
    layer = next(
        (layer for layer in viewer.layers if isinstance(layer, Image) and source_file(layer) == path), None
    )
    if layer is None:
        return False
    layer.visible = True
    viewer.layers.selection.active = layer
    return True
