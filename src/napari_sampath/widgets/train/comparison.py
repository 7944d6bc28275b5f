"""A new head beside the one in use: Dice by class, and the tiles on which the new one does worst."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from ...arrays import UInt8Array
    from ...training.rounds.comparison import Comparison, WorstTile

THUMBNAIL_PX = 84
SAME = 0.005
"""A difference in Dice up to this is called none."""


class ComparisonView(QWidget):
    """Shows a `Comparison`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = QLabel()
        self.table.setTextFormat(Qt.TextFormat.RichText)
        self.table.setToolTip(
            "Dice: overlap with your annotations, from 0 (none) to 1 (the same), on images kept aside for this."
        )
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.caption = QLabel("Where the new head does worst")
        self.pictures: list[QLabel] = []
        self._grid = QGridLayout()
        self._grid.setSpacing(3)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (self.verdict, self.table, self.caption):
            column.addWidget(widget)
        column.addLayout(self._grid)
        self.show_comparison(None)

    def show_comparison(self, comparison: Comparison | None, note: str = "") -> None:
        """Show a comparison; or why there is none."""
        for label in self.pictures:
            self._grid.removeWidget(label)
            label.deleteLater()
        self.pictures = []
        self.verdict.setText(note if comparison is None else verdict(comparison))
        self.verdict.setVisible(bool(self.verdict.text()))
        for widget in (self.table, self.caption):
            widget.setVisible(comparison is not None)
        if comparison is None:
            return
        self.table.setText(score_table(comparison))
        for row, tile in enumerate(comparison.worst):
            self._add(tile, row)

    def _add(self, tile: WorstTile, row: int) -> None:
        before = "" if tile.previous_dice is None else f", {tile.previous_dice:.2f} before"
        where = f"{tile.name}: Dice {tile.dice:.2f}{before}"
        shown = [("your annotations", tile.truth), ("the new head", tile.new)]
        if tile.previous is not None:
            shown.append(("the head in use", tile.previous))
        for column, (what, pixels) in enumerate(shown):
            label = QLabel()
            label.setPixmap(pixmap_of(pixels, THUMBNAIL_PX))
            label.setToolTip(f"{where}; {what}")
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            if row == 0:
                title = QLabel(what)
                title.setAlignment(Qt.AlignmentFlag.AlignCenter)
                title.setWordWrap(True)
                title.setFixedWidth(THUMBNAIL_PX)
                self._grid.addWidget(title, 0, column)
                self.pictures.append(title)
            self._grid.addWidget(label, row + 1, column)
            self.pictures.append(label)


def verdict(comparison: Comparison) -> str:
    """Say in one sentence whether the new head is better."""
    of = "the images kept aside"
    if comparison.measured_on != "val":
        of = "the training images, for want of others (annotate images of more slides)"
    on = f"on {comparison.tiles} tile{'' if comparison.tiles == 1 else 's'} of {of}"
    mean = comparison.scores[-1]
    if mean.new is None:
        return f"No class to compare {on}."
    if mean.previous is None:
        return f"{comparison.new} is the first head: mean Dice {mean.new:.2f} {on}."
    gain = mean.new - mean.previous
    if abs(gain) <= SAME:
        return f"{comparison.new} is as good as {comparison.previous} {on}."
    word = "better" if gain > 0 else "worse"
    return f"{comparison.new} is {word} than {comparison.previous} by {abs(gain):.2f} in mean Dice {on}."


def score_table(comparison: Comparison) -> str:
    """Write the Dice of each class as a table, in HTML."""
    cells = "<tr><td></td><td align='right'>&nbsp;new</td><td align='right'>&nbsp;in use</td><td></td></tr>"
    for row in comparison.scores:
        swatch = "" if row.color is None else f"<font color='{_hex(row.color)}'>&#9632;</font> "
        sign = ""
        if row.new is not None and row.previous is not None and abs(row.new - row.previous) > SAME:
            sign = "&#9650;" if row.new > row.previous else "&#9660;"
        name = f"<b>{row.name}</b>" if row.color is None else escape(row.name)
        cells += (
            f"<tr><td>{swatch}{name}</td><td align='right'>&nbsp;{_figure(row.new)}</td>"
            f"<td align='right'>&nbsp;{_figure(row.previous)}</td><td>&nbsp;{sign}</td></tr>"
        )
    return f"<table cellspacing='2'>{cells}</table>"


def pixmap_of(pixels: UInt8Array, side_px: int) -> QPixmap:
    """Make a picture of pixels (H, W, 3) uint8, at most so large."""
    height, width = pixels.shape[:2]
    data = pixels.tobytes()  # the image does not copy it
    image = QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(image).scaled(
        side_px, side_px, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
