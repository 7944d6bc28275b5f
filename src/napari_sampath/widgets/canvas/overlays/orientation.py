"""Scale bar and magnification of the view, and lengths on the image."""

from __future__ import annotations

import math
from typing import Any

from napari.layers import Image
from napari.viewer import Viewer
from qtpy.QtCore import QObject, Signal

from ..napari_internals.scale_bar import scale_bar, set_scale_bar_unit
from ..pixel_size import mpp_of
from ..viewport import camera

MPP_AT_1X = 10.0
"""Micrometres per pixel at 1x: by convention, scanners record about 0.25 um per pixel at 40x, and 0.5 at 20x."""
OBJECTIVES = (1.25, 2.5, 5, 10, 20, 40, 60, 80)
SAME_OBJECTIVE = 1.15
"""Scans within this factor of an objective are named after it, because the pixel sizes of scanners differ."""
NO_MPP = "The image states no pixel size; lengths are in pixels."


class Orientation(QObject):
    """Shows napari's scale bar for the first image, and describes the magnification.

    Args:
        viewer: The viewer.
        parent: The Qt parent.
    """

    changed = Signal()
    """Emitted when the image or the zoom of the view changed."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._image: Image | None = None
        self._file_mpp: float | None = None
        self._was_visible: bool | None = None
        """Whether the scale bar was visible before; None until it is shown."""
        camera(viewer).events.zoom.connect(self._on_zoom)

    def follow(self, image: Image | None, mpp: float | None = None) -> None:
        """Describe another image; the first one shows the scale bar, which the user can hide in the View menu.

        Args:
            image: The image; None for none.
            mpp: Micrometres per pixel that its file states, for a layer without a pixel size.
        """
        self._image, self._file_mpp = image, mpp
        if image is not None and self._was_visible is None:
            self._was_visible = bool(scale_bar(self._viewer).visible)
            scale_bar(self._viewer).visible = True
        um = None
        if image is not None and mpp is not None and mpp_of(image) is None:
            um = mpp / float(image.scale[-1])
        set_scale_bar_unit(self._viewer, um)
        self.changed.emit()

    def close(self) -> None:
        """Disconnect, and restore the scale bar."""
        camera(self._viewer).events.zoom.disconnect(self._on_zoom)
        set_scale_bar_unit(self._viewer, None)
        if self._was_visible is not None:
            scale_bar(self._viewer).visible = self._was_visible

    @property
    def text(self) -> str:
        """The magnification of the scan and of the view, such as "20x, view 8.1x"; "" without an image."""
        mpp = None if self._image is None else mpp_of(self._image) or self._file_mpp
        if self._image is None or mpp is None:
            return "" if self._image is None else "pixel size unknown"
        canvas_px = float(camera(self._viewer).zoom) * float(self._image.scale[-1])
        return f"{describe(scan_magnification(mpp))}, view {describe(MPP_AT_1X / mpp * canvas_px)}"

    @property
    def hint(self) -> str:
        """Explanation of `text`."""
        mpp = None if self._image is None else mpp_of(self._image) or self._file_mpp
        if mpp is None:
            return NO_MPP
        return (
            f"The image has {mpp:.3g} um per pixel, as scanned at about {describe(scan_magnification(mpp))}."
        )

    def _on_zoom(self, _event: Any = None) -> None:
        self.changed.emit()


def scan_magnification(mpp: float) -> float:
    """Return the magnification of a scan with a pixel size in micrometres: that of the objective, if one fits."""
    exact = MPP_AT_1X / mpp
    nearest = min(OBJECTIVES, key=lambda value: abs(math.log(value / exact)))
    return nearest if max(nearest / exact, exact / nearest) <= SAME_OBJECTIVE else exact


def describe(magnification: float) -> str:
    """Format a magnification: "40x", "2.5x"."""
    return f"{magnification:.0f}x" if magnification >= 10 else f"{magnification:.2g}x"


def describe_length(first_xy: tuple[float, float], second_xy: tuple[float, float], mpp: float | None) -> str:
    """Describe the distance between two positions (x, y) in image pixels; without a pixel size, in pixels only."""
    px = math.dist(first_xy, second_xy)
    if mpp is None:
        return f"{px:.1f} px"
    um = px * mpp
    return f"{um / 1000:.2f} mm ({px:,.0f} px)" if um >= 1000 else f"{um:.1f} um ({px:,.1f} px)"
