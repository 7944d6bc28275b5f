"""Checklist of what a dataset needs before a head is trained on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ...files.messages import plural
from .rounds import DatasetSummary


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of the checklist."""

    text: str
    """The state in words; if it is not met, what to do."""
    met: bool
    needed: bool = True
    """False if training is possible without it, but the quality of the head then is not measured, or not for all
    classes."""


def requirements(summary: DatasetSummary | None) -> tuple[Requirement, ...]:
    """Return the checklist of a dataset.

    Args:
        summary: The dataset; None if it has no samples.

    Returns:
        The lines; training is possible if all those that are `needed` are met.
    """
    if summary is None:
        return (
            Requirement("No image in the training set has verified labels; annotate one and add it.", False),
        )
    return (
        _classes(summary),
        _names(summary),
        _in_training(summary),
        _slides(summary),
        _in_validation(summary),
    )


def is_ready(summary: DatasetSummary | None) -> bool:
    """Return True if a head can be trained on a dataset."""
    return all(line.met for line in requirements(summary) if line.needed)


def _classes(summary: DatasetSummary) -> Requirement:
    pixels = _pixels(summary, "train")
    used = [info.name for info, count in zip(summary.classes, pixels, strict=True) if count and info.id > 0]
    background = sum(count for info, count in zip(summary.classes, pixels, strict=True) if info.id == 0)
    if len(used) >= 2:
        return Requirement(f"{plural(len(used), 'class')}: {', '.join(used)}.", True)
    if used and background:
        return Requirement(f"One class, {used[0]}, and verified background.", True)
    if used:
        return Requirement(
            f"All verified pixels are {used[0]}, so a head would learn to paint everything: annotate a second class, "
            "or mark an area as verified, whose remaining pixels are background.",
            False,
        )
    return Requirement("No training image has verified objects; annotate some.", False)


def _names(summary: DatasetSummary) -> Requirement:
    numbers = Counter(info.id for info in summary.classes)
    names = Counter(info.key for info in summary.classes)
    twice = [info.name for info in summary.classes if numbers[info.id] > 1 or names[info.key] > 1]
    if twice:
        return Requirement(
            f"The class '{twice[0]}' has two numbers or two spellings; rename one of them.", False
        )
    return Requirement("Each class has one name and one number.", True)


def _in_training(summary: DatasetSummary) -> Requirement:
    pixels = _pixels(summary, "train")
    missing = [
        info.name for info, count in zip(summary.classes, pixels, strict=True) if not count and info.id > 0
    ]
    if missing:
        return Requirement(
            f"No training image has {_join(missing)}; annotate it in one of them, or remove the class.",
            False,
        )
    return Requirement("Each class is in a training image.", True)


def _slides(summary: DatasetSummary) -> Requirement:
    if summary.slides >= 2 and summary.images.get("val"):
        images = sum(summary.images.values())
        count = (
            f"{images} images of {summary.slides} slides" if images > summary.slides else f"{images} slides"
        )
        return Requirement(f"{count}, some of them for validation only.", True)
    return Requirement(
        "There is one slide only, so the quality of the head cannot be measured; annotate an image of another slide.",
        False,
        needed=False,
    )


def _in_validation(summary: DatasetSummary) -> Requirement:
    if not summary.images.get("val"):
        return Requirement("There is no validation image.", False, needed=False)
    pixels = _pixels(summary, "val")
    counts = list(zip(summary.classes, pixels, strict=True))
    missing = [info.name for info, count in counts if not count and info.id > 0]
    present = [info.name for info, count in counts if count]
    if missing:
        return Requirement(
            f"No validation image has {_join(missing)}, so its quality is not measured; annotate it in one of them.",
            False,
            needed=False,
        )
    if len(present) < 2:
        return Requirement(
            f"All verified pixels of the validation images are {_join(present) or 'missing'}, so the quality cannot "
            "be measured; mark an area as verified.",
            False,
            needed=False,
        )
    return Requirement("Each class is in a validation image.", True)


def _pixels(summary: DatasetSummary, split: str) -> tuple[int, ...]:
    return summary.annotated_px.get(split) or (0,) * len(summary.classes)


def _join(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
