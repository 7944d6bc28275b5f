"""Cards that describe heads to users: tissue, stain, classes, scale and measured quality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...arrays import ClassInfo
from ...files.messages import plural
from ...heads import LoadedHead, load_head, locate_bundle

TISSUES = {
    "ebhi_glands": ("biopsies of the large bowel", "H&E"),
    "bbbc038_nuclei": ("cells and tissues of several kinds", "mostly haematoxylin"),
    "bbbc038_nuclei + tnbc_nuclei": (
        "cells and tissues of several kinds, and breast cancer",
        "haematoxylin, H&E",
    ),
    "bcss_tumor + hgsc_nest": ("breast cancer (two patients) and ovarian cancer", "H&E"),
    "bcss_tumor": ("breast cancer", "H&E"),
    "tnbc_nuclei": ("triple-negative breast cancer", "H&E"),
    "camelyon_tumor": ("lymph nodes with breast cancer", "H&E"),
}
"""Name of a dataset of the shipped heads -> tissue and stain."""
MAGNIFICATIONS = ((0.17, "60x"), (0.35, "40x"), (0.75, "20x"), (1.5, "10x"), (3.0, "5x"))
"""Largest micrometres per pixel -> usual name of the magnification."""


@dataclass(frozen=True, slots=True)
class HeadCard:
    """Description of one head for the user."""

    head: str
    """Name of a shipped head, or path of a bundle."""
    name: str
    tissue: str
    stain: str
    """Empty if unknown."""
    mpp: float | None
    classes: tuple[ClassInfo, ...]
    """Classes without the background."""
    encoder: str
    quality: str
    """Measured quality and the images on which it was measured, one sentence."""
    measured: bool
    """Whether the quality was measured on images that the head was not trained on."""
    licence: str
    picture: Path | None
    """Picture of a result; None if there is none."""

    @property
    def magnification(self) -> str:
        """Magnification of the training images, such as "20x (0.50 um per pixel)"."""
        return "magnification unknown" if self.mpp is None else describe_mpp(self.mpp)

    @property
    def text(self) -> str:
        """The card as text."""
        stain = f", {self.stain}" if self.stain else ""
        names = ", ".join(info.name for info in self.classes)
        return f"{self.tissue}{stain}, {self.magnification}. Classes: {names}. {self.quality}"


def head_card(head: str | Path) -> HeadCard:
    """Read the card of a head; an unchanged file is read once.

    Raises:
        WeightsError, WeightsMissingError, UnknownNameError: As `load_head`.
    """
    path = locate_bundle(head)
    status, picture = path.stat(), path.with_suffix(".png")
    card = _read_card(path.absolute(), (status.st_mtime_ns, status.st_size, status.st_ino))
    return replace(card, head=str(head), picture=picture if picture.is_file() else None)


@lru_cache(maxsize=64)
def _read_card(path: Path, _stamp: tuple[int, int, int]) -> HeadCard:
    """Read the card of a bundle; a changed file has another stamp."""
    loaded = load_head(path)
    metadata = loaded.metadata
    data = str(metadata.data.get("name", ""))
    tissue, stain = TISSUES.get(data, (f"images of '{data}'" if data else "unknown tissue", ""))
    quality, measured = _quality(loaded)
    return HeadCard(
        "",
        metadata.name,
        tissue[:1].upper() + tissue[1:],
        stain,
        metadata.mpp,
        tuple(info for info in loaded.classes if info.id > 0),
        loaded.encoder_name,
        quality,
        measured,
        metadata.licence,
        None,
    )


def fitting_head(
    cards: Iterable[HeadCard], classes: Sequence[ClassInfo], mpp: float | None = None
) -> HeadCard | None:
    """Return the head that fits an image best: most classes in common, then measured quality, then scale.

    Args:
        cards: The heads, preferred ones first.
        classes: The class list of the image.
        mpp: Micrometres per pixel of the image; None if unknown.

    Returns:
        The card; None if no head has a class of the image.
    """
    wanted = {_singular(info.key) for info in classes}
    best: tuple[tuple[float, ...], HeadCard] | None = None
    for card in cards:
        shared = sum(_singular(info.key) in wanted for info in card.classes)
        if not shared:
            continue
        distance = 0.0 if mpp is None or card.mpp is None else -abs(mpp / card.mpp - 1)
        key = (shared, card.measured, distance)
        if best is None or key > best[0]:
            best = (key, card)
    return None if best is None else best[1]


def describe_mpp(mpp: float) -> str:
    """Describe micrometres per pixel by the usual magnification."""
    name = next((name for largest, name in MAGNIFICATIONS if mpp <= largest), "below 5x")
    return f"{name} ({mpp:.2f} um per pixel)"


def _quality(head: LoadedHead) -> tuple[str, bool]:
    metrics: Any = head.metadata.metrics
    chosen_on = str(metrics.get("chosen_on", ""))
    mean, images = _mean_dice(metrics.get("head"))
    if mean is None or not chosen_on or chosen_on.startswith("train"):
        return "Quality not measured: all training images show one slide.", False
    noun = "held-out image" if "held-out" in chosen_on else "validation image"
    text = f"Dice {mean:.2f} on {plural(images, noun)}"
    constant = next((key for key in metrics if key.startswith("all ")), None)
    baseline = None if constant is None else _mean_dice(metrics[constant])[0]
    if constant is not None and baseline is not None:
        text += f" (everything {constant.removeprefix('all ')}: {baseline:.2f})"
    return f"{text}.", True


def _mean_dice(scores: Any) -> tuple[float | None, int]:
    try:
        value = scores["per_image"]["mean"]["dice"]
        return (None if value is None else float(value)), int(scores["images"])
    except (LookupError, TypeError, ValueError):
        return None, 0


def _singular(key: str) -> str:
    """Compare "glands" with "gland" and "tumor" with "tumour"."""
    key = key.replace("tumor", "tumour")
    return {"nuclei": "nucleus"}.get(key, key.removesuffix("s") if not key.endswith("us") else key)
