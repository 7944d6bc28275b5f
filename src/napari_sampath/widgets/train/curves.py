"""Plot of loss and Dice, painted with Qt because napari has no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

Points = Sequence[tuple[float, float]]

LOSS_COLOR, DICE_COLOR = QColor("#d9730d"), QColor("#2e8bd0")
"""Colours that people with red-green colour blindness can distinguish, on light and dark backgrounds."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 28, 18, 18


class CurvesPlot(QWidget):
    """Loss (left axis) and Dice (right axis, 0 to 1) over epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: Points = ()
        self.dice: Points = ()
        self.epochs = 0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Loss: difference from your annotations; it should fall. "
            "Dice: overlap with your annotations on validation images; it should rise towards 1."
        )

    def sizeHint(self) -> QSize:
        """Return a size at which the axes are readable."""
        return QSize(260, 130)

    def show_curves(self, losses: Points, dice: Points, epochs: int) -> None:
        """Show curves of (epoch, value) pairs; the horizontal axis ends at `epochs`."""
        self.losses, self.dice, self.epochs = tuple(losses), tuple(dice), epochs
        self.update()

    def paintEvent(self, _event: Any) -> None:
        """Paint grid, axes and curves."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(self.foregroundRole())
        width, height = self.width() - _LEFT - _RIGHT, self.height() - _TOP - _BOTTOM
        area = QRectF(_LEFT, _TOP, max(1, width), max(1, height))
        top = max((value for _, value in self.losses), default=1.0) or 1.0
        self._paint_axes(painter, area, text, top)
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        loss = f"loss {self.losses[-1][1]:.3f}" if self.losses else "loss"
        dice = f"Dice {self.dice[-1][1]:.3f}" if self.dice else "Dice"
        above = QRectF(area.left(), 0, area.width(), 16)
        _write(painter, above, loss, LOSS_COLOR, left)
        _write(painter, above, dice, DICE_COLOR, right)
        below = QRectF(area.left(), area.bottom() + 2, area.width(), 16)
        _write(painter, below, "0", text, left)
        _write(painter, below, f"{self.epochs} epochs" if self.epochs else "epochs", text, right)
        self._paint_curve(painter, area, self.losses, top, LOSS_COLOR)
        self._paint_curve(painter, area, self.dice, 1.0, DICE_COLOR, dots=True)
        painter.end()

    def _paint_axes(self, painter: QPainter, area: QRectF, text: QColor, top: float) -> None:
        faint = QColor(text)
        faint.setAlphaF(0.25)
        for share in (0.0, 0.5, 1.0):
            y = area.bottom() - share * area.height()
            painter.setPen(QPen(faint, 1))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            loss, dice = QRectF(0, y - 8, _LEFT - 4, 16), QRectF(area.right() + 4, y - 8, _RIGHT - 4, 16)
            _write(painter, loss, f"{share * top:.2g}", LOSS_COLOR, Qt.AlignmentFlag.AlignRight)
            _write(painter, dice, f"{share:g}", DICE_COLOR, Qt.AlignmentFlag.AlignLeft)

    def _paint_curve(
        self, painter: QPainter, area: QRectF, points: Points, top: float, color: QColor, dots: bool = False
    ) -> None:
        x_scale, y_scale = area.width() / max(1, self.epochs), area.height() / top
        polyline = [
            QPointF(area.left() + x * x_scale, area.bottom() - value * y_scale) for x, value in points
        ]
        painter.setPen(QPen(color, 1.6))
        painter.drawPolyline(QPolygonF(polyline))
        if dots and len(polyline) < area.width() / 6:
            painter.setBrush(color)
            for point in polyline:
                painter.drawEllipse(point, 2.0, 2.0)


def _write(painter: QPainter, area: QRectF, text: str, color: QColor, alignment: Any) -> None:
    painter.setPen(color)
    painter.drawText(area, int((alignment | Qt.AlignmentFlag.AlignVCenter).value), text)
