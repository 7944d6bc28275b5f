"""Convert class colours and images to Qt icons and pixmaps."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QImage, QPainter, QPixmap

from ...arrays import UInt8Array

SWATCH_PX = 16


def swatch(color: tuple[int, int, int], text: str = "") -> QIcon:
    """Return an icon that is a small square in a class colour (red, green, blue), with a short text in it."""
    pixmap = QPixmap(SWATCH_PX, SWATCH_PX)
    pixmap.fill(QColor(*color))
    painter = QPainter(pixmap)
    dark = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] < 140
    painter.setPen(QColor("white" if dark else "black"))
    painter.drawText(pixmap.rect(), Qt.AlignmentFlag.AlignCenter, text)
    painter.end()
    icon = QIcon(pixmap)
    # Otherwise Qt tints the icon of a selected row, so that it shows another colour than the class.
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon


def thumbnail(pixels: UInt8Array, side_px: int) -> QPixmap:
    """Return an image (H, W, 3) uint8 as a pixmap, scaled so that the longer side is `side_px`."""
    height, width = pixels.shape[:2]
    data = pixels.tobytes()  # Keep a reference, because QImage does not copy the data.
    image = QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(image).scaled(
        side_px, side_px, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )
