"""Choice of the head that fits an image, and the cards of heads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ...arrays import ClassInfo
from ...errors import SampathError
from ..viewer.jobs import Catalogue

if TYPE_CHECKING:
    from ...training.rounds.head_cards import HeadCard


def card_of(head: str | None, catalogue: Catalogue | None) -> HeadCard | None:
    """Return the card of a shipped head or of a bundle file; None before the heads are listed, or if it is damaged."""
    if head is None or catalogue is None:
        return None
    shipped = next((card for card in catalogue.cards if card.head == head), None)
    return shipped or _own_card(Path(head))


def missing_model(head: str | None, catalogue: Catalogue | None) -> str:
    """Describe the download that running a head would start: "vit_b, 358 MB, licence ..."; "" if there is none."""
    card = card_of(head, catalogue)
    download = "" if card is None or catalogue is None else catalogue.download(card.encoder)
    return "" if card is None or not download else f"{card.encoder}, {download}"


def proposed_head(
    catalogue: Catalogue | None, classes: Sequence[ClassInfo], mpp: float | None = None
) -> str | None:
    """Return the shipped head that fits the classes and the scale of an image best; None if none has its classes."""
    if catalogue is None:
        return None
    from ...training.rounds.head_cards import fitting_head

    card = fitting_head(catalogue.cards, classes, mpp)
    return None if card is None else card.head


def _own_card(path: Path) -> HeadCard | None:
    try:
        return _read_card(str(path), path.stat().st_mtime_ns)
    except (SampathError, OSError):
        return None  # The error is shown when the head is run.


@lru_cache(maxsize=64)
def _read_card(path: str, _changed_ns: int) -> HeadCard:
    from ...training.rounds.head_cards import head_card

    return head_card(path)
