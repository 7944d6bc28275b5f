"""Compare a new head with the one in use: Dice of each class, and the tiles on which the new head is worst."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from ...files.messages import plural
from ..common.controls import column, delete_widgets, label, plain_tooltip
from ..common.pixmaps import thumbnail
from .text_table import Row, TextTable

if TYPE_CHECKING:
    from ...training.rounds.comparison import ClassScore, Comparison, WorstTile

THUMBNAIL_PX = 84
SAME = 0.005
"""Two heads whose Dice differs by at most this value count as equal."""


class ComparisonView(QWidget):
    """Shows a `Comparison`."""

    def __init__(self) -> None:
        super().__init__()
        self.table = TextTable()
        self.table.setToolTip(
            "Dice: overlap with your annotations on validation images, from 0 (none) to 1 (identical)."
        )
        self.verdict = label(wrap=True)
        """A sentence about the quality, which the dock shows above *Accept*."""
        self.caption = label("Worst tiles of the new head")
        self.thumbnails: list[QLabel] = []
        self._measured = False
        """Whether the scores shown were measured on images that the heads were not trained on."""
        self._grid = QGridLayout()
        self._grid.setSpacing(3)
        column(self.table, self.caption, self._grid, parent=self)
        self.show_comparison(None)

    def show_comparison(self, comparison: Comparison | None, note: str = "") -> None:
        """Show a comparison, or `note`, which explains why there is none."""
        delete_widgets(self._grid)
        self.thumbnails = []
        self.verdict.setText(note if comparison is None else verdict(comparison))
        self.verdict.setVisible(bool(self.verdict.text()))
        measured = self._measured = comparison is not None and comparison.measured
        self.table.setVisible(measured)
        self.caption.setVisible(comparison is not None)
        if comparison is None:
            return
        self.caption.setText("Worst tiles of the new head" if measured else "Results of the new head")
        if measured:
            self.table.show_rows([(None, ("", "new", "in use", "")), *map(_score_row, comparison.scores)])
        for row, tile in enumerate(comparison.worst):
            self._add_tile(tile, row)

    def _add_tile(self, tile: WorstTile, row: int) -> None:
        before = "" if tile.previous_dice is None else f", {tile.previous_dice:.2f} before"
        columns = [("your annotations", tile.truth), ("the new head", tile.new)]
        if tile.previous is not None:
            columns.append(("the head in use", tile.previous))
        for index, (title, pixels) in enumerate(columns):
            image = QLabel()
            image.setPixmap(thumbnail(pixels, THUMBNAIL_PX))
            score = f": Dice {tile.dice:.2f}{before}" if self._measured else ""
            image.setToolTip(plain_tooltip(f"{tile.name}{score}; {title}"))
            image.setAlignment(Qt.AlignmentFlag.AlignCenter)
            if row == 0:
                heading = label(title, wrap=True)
                heading.setAlignment(Qt.AlignmentFlag.AlignCenter)
                heading.setFixedWidth(THUMBNAIL_PX)
                self._grid.addWidget(heading, 0, index)
                self.thumbnails.append(heading)
            self._grid.addWidget(image, row + 1, index)
            self.thumbnails.append(image)


GRADES = ((0.85, "very good"), (0.7, "good"), (0.5, "useful as a start"), (0.0, "weak"))
"""Lowest mean Dice -> word for the quality of a head."""
MIN_IMAGES = 3
"""Fewest validation images on which a head is called good or weak."""


def verdict(comparison: Comparison) -> str:
    """State in words how good the new head is; without images that it was not trained on, no figure is given."""
    mean, name = comparison.scores[-1], comparison.new
    if comparison.doubt is not None:
        return f"{name}: {comparison.doubt[0].lower()}{comparison.doubt[1:]}"
    if mean.new is None:
        return f"{name}: its quality is not measured."
    grade = next(word for lowest, word in GRADES if mean.new >= lowest)
    on = f"{plural(comparison.tiles, 'tile')} of {plural(comparison.images, 'validation image')}"
    few = comparison.images < MIN_IMAGES
    text = f"{name} {'has' if few else f'is {grade}:'} mean Dice {mean.new:.2f} on {on}"
    if comparison.constant is not None:
        text += f" (calling everything '{comparison.constant[0]}': {comparison.constant[1]:.2f})"
    if few:
        text += f", too few to judge it: annotate at least {MIN_IMAGES}"
    if mean.previous is None:
        return f"{text}. It is the first head." if comparison.previous is None else f"{text}."
    gain = mean.new - mean.previous
    if abs(gain) <= SAME:
        return f"{text}. It is as good as {comparison.previous}."
    relation = "better" if gain > 0 else "worse"
    return f"{text}. It is {relation} than {comparison.previous} by {abs(gain):.2f}."


def _score_row(score: ClassScore) -> Row:
    arrow = ""
    if score.new is not None and score.previous is not None and abs(score.new - score.previous) > SAME:
        arrow = "▲" if score.new > score.previous else "▼"
    figures = ("–" if value is None else f"{value:.2f}" for value in (score.new, score.previous))
    return score.color, (score.name, *figures, arrow)
