"""Descriptions of tasks for workers: names and paths, which each worker resolves itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The model that each worker loads; see `predict.load_model`."""

    name: str
    weights: str | None = None
    """Path that is the same on all workers."""
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True, slots=True)
class SlideSpec:
    """A whole-slide run whose result exists."""

    slide: str
    """Path that is the same on all workers, like all paths here."""
    head: str
    """Name of a shipped head, or path of a bundle."""
    model: ModelSpec
    result: str
    tissue: str
    """File of the tissue mask, see `images.slides.tissue.save_tissue`."""
    mpp: float | None = None
    """Micrometres per pixel of the slide, if its file is wrong."""
    at_mpp: float | None = None
    """Micrometres per pixel at which the head runs."""
    tile_px: int | None = None
    """Side of the tiles in level-0 pixels, if the user has chosen it."""


@dataclass(frozen=True, slots=True)
class EncodeSpec:
    """Encoding of images into the feature store, whose folder all workers share."""

    model: ModelSpec
    use: str
    """"clicks", "heads" or "both"."""
    tile_px: int
