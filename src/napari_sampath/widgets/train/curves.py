"""Curves of loss and Dice, painted with Qt alone: napari brings no plotting library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    Points = Sequence[tuple[float, float]]

LOSS_COLOR, DICE_COLOR = QColor("#d9730d"), QColor("#2e8bd0")
"""Told apart by people who see red and green alike, on light and on dark."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 28, 18, 18


class CurvesPlot(QWidget):
    """Loss (left axis) and Dice (right axis, 0 to 1) over passes of the training images.

    It repaints when it is shown new values, and not by itself.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.losses: Points = ()
        self.dice: Points = ()
        self.passes = 0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Loss: how far the head is from your annotations, to go down. "
            "Dice: overlap with them on images it does not learn from, to go up to 1."
        )

    def sizeHint(self) -> QSize:
        """Return a size at which the axes can be read."""
        return QSize(260, 130)

    def show_curves(self, losses: Points, dice: Points, passes: int) -> None:
        """Show curves of (passes done, value) with room for so many passes."""
        self.losses, self.dice, self.passes = tuple(losses), tuple(dice), passes
        self.update()

    def paintEvent(self, _event: Any) -> None:
        """Paint frame, axes and curves."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(self.foregroundRole())
        faint = QColor(text)
        faint.setAlphaF(0.25)
        area = QRectF(
            _LEFT, _TOP, max(1, self.width() - _LEFT - _RIGHT), max(1, self.height() - _TOP - _BOTTOM)
        )
        top = max((value for _, value in self.losses), default=1.0) or 1.0
        painter.setPen(QPen(faint, 1))
        for share in (0.0, 0.5, 1.0):
            y = area.bottom() - share * area.height()
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        for share in (0.0, 0.5, 1.0):
            y = area.bottom() - share * area.height() - 8
            _write(painter, QRectF(0, y, _LEFT - 4, 16), f"{share * top:.2g}", LOSS_COLOR, right)
            _write(painter, QRectF(area.right() + 4, y, _RIGHT - 4, 16), f"{share:g}", DICE_COLOR, left)
        loss, dice = "loss", "Dice"
        if self.losses:
            loss = f"loss {self.losses[-1][1]:.3f}"
        if self.dice:
            dice = f"Dice {self.dice[-1][1]:.3f}"
        _write(painter, QRectF(area.left(), 0, area.width(), 16), loss, LOSS_COLOR, left)
        _write(painter, QRectF(area.left(), 0, area.width(), 16), dice, DICE_COLOR, right)
        below = QRectF(area.left(), area.bottom() + 2, area.width(), 16)
        _write(painter, below, "0", text, left)
        _write(painter, below, f"{self.passes} passes" if self.passes else "passes", text, right)
        self._curve(painter, area, self.losses, top, LOSS_COLOR)
        self._curve(painter, area, self.dice, 1.0, DICE_COLOR, dots=True)
        painter.end()

    def _curve(
        self,
        painter: QPainter,
        area: QRectF,
        points: Points,
        top: float,
        color: QColor,
        dots: bool = False,
    ) -> None:
        across = max(1, self.passes)
        places = [
            QPointF(area.left() + x / across * area.width(), area.bottom() - value / top * area.height())
            for x, value in points
        ]
        painter.setPen(QPen(color, 1.6))
        painter.drawPolyline(QPolygonF(places))
        if dots and len(places) < area.width() / 6:
            painter.setBrush(color)
            for place in places:
                painter.drawEllipse(place, 2.0, 2.0)


def _write(painter: QPainter, place: QRectF, text: str, color: QColor, side: Any) -> None:
    painter.setPen(color)
    painter.drawText(place, int((side | Qt.AlignmentFlag.AlignVCenter).value), text)
