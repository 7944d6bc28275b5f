"""Splits of the images of a project, by slide or case."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

from ...formats.dataset.manifest import VALIDATION_SHARE
from ...formats.layouts.settings import NEW_SPLITS, NO_SPLITS, ExportSettings
from ..project.content import ProjectImage
from ..project.project import Project


def split_slides(
    project: Project,
    images: Iterable[ProjectImage],
    settings: ExportSettings,
    earlier: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return slide or case -> "train", "val" or "test"; all images of a slide are in one split.

    Slides without a split are processed in the order of a hash of their names; each goes to the split that lacks most
    images.

    Args:
        project: The project.
        images: The images to export.
        settings: Whether splits are those of the project, new ones or none.
        earlier: Splits of an earlier export with the same settings, which are kept.
    """
    sizes = Counter(project.slide_of(image) for image in images)
    if settings.split == NO_SPLITS:
        return dict.fromkeys(sizes, "train")
    if settings.split == NEW_SPLITS:
        shares = {"val": settings.val_share, "test": settings.test_share}
        splits: dict[str, str] = {}
    else:
        shares = {"val": VALIDATION_SHARE}
        assigned = {project.slide_of(image): project.split_of(image) for image in project.images.values()}
        splits = {slide: split for slide, split in assigned.items() if split and slide in sizes}
    splits = {slide: split for slide, split in (earlier or {}).items() if slide in sizes} | splits
    shares["train"] = 1 - sum(shares.values())
    total = sum(sizes.values())
    for slide in sorted(sizes.keys() - splits.keys(), key=_hash):
        counts = Counter(dict.fromkeys(shares, 0))
        for other, split in splits.items():
            counts[split] += sizes[other]
        # The largest split first if several lack equally much, so that a single slide is used for training.
        lacking = {split: share * total - counts[split] for split, share in shares.items() if share > 0}
        splits[slide] = "train" if not counts["train"] else max(lacking, key=lambda name: lacking[name])
    return splits


def _hash(slide: str) -> str:
    return hashlib.sha256(slide.encode("utf-8", "surrogatepass")).hexdigest()
