"""The card of the selected head: picture, tissue, stain, magnification, classes and measured quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

from ..common.controls import label, plain_tooltip, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arrays import ClassInfo
    from ...training.rounds.head_cards import HeadCard

PICTURE_PX = 64


class HeadCardView(QWidget):
    """Shows a `HeadCard`."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = QLabel()
        self.picture.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.text = label(wrap=True)
        self.setLayout(row(self.picture, self.text, stretch=1))
        self._shown: tuple[HeadCard, str] | None = None
        self.hide()

    def show_card(self, card: HeadCard | None, classes: Sequence[ClassInfo]) -> None:
        """Show a card, with a remark if the head has none of the classes of the image; None hides the view."""
        if card is None:
            self._shown = None
            self.hide()
            return
        names = {info.key for info in classes}
        shared = any(info.key in names for info in card.classes)
        note = "" if shared or not classes else " It has none of the classes of this image."
        # Do not set the same picture again, because that repaints the window.
        if self._shown == (card, note):
            return
        self._shown = card, note
        self.show()
        self.text.setText(f"{card.text}{note}")
        licence = card.licence or "not stated"
        self.setToolTip(plain_tooltip(f"{card.name}: encoder {card.encoder}, licence {licence}"))
        self.picture.setVisible(card.picture is not None)
        if card.picture is not None:
            pixmap = QPixmap(str(card.picture))
            self.picture.setPixmap(pixmap.scaledToWidth(PICTURE_PX) if not pixmap.isNull() else pixmap)
