"""Settings of instance segmentation."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ConfigError
from ...settings import check_settings, setting


@dataclass(frozen=True, slots=True)
class InstanceSettings:
    """Settings of `segment_instances`; widths are relative to those of the objects, so they suit any magnification.

    Raises:
        ConfigError: If a value is not allowed.
    """

    min_area_px: int = setting(20, min=1, label="Min. area")
    """Minimum area of an object in pixels; smaller objects are dropped, and no object is split into smaller parts."""
    threshold: float = setting(0.0, min=0, max=1)
    """Pixels whose class has a lower probability are not part of an object, 0 to 1."""
    neck: float = setting(0.9, min=0, max=1)
    """Split an object at a neck whose width is below this fraction (0 to 1) of the width of the narrower part on either
    side; 0 never splits."""
    smoothing: float = setting(0.1, min=0, max=1)
    """Smoothing of the distance transform before its maxima are located, as a fraction of half the maximum width, 0 to
    1."""
    min_score: float = setting(0.7, min=0, max=1)
    """Objects whose mean probability is lower are dropped, 0 to 1; only on images, for heads that separate touching
    objects themselves, such as `nucleus-instance` (chosen on its training images)."""
    agreement: float = setting(0.5, min=0, max=1)
    """The model's outline of an object is used if its IoU with the head's outline is at least this, 0 to 1; otherwise
    the head's outline is kept."""
    outlines: bool | None = None
    """Whether the model outlines each object; if False, all outlines are the head's. None: on images it does, on whole
    slides it does not."""

    def __post_init__(self) -> None:
        check_settings(self)
        if not (self.outlines is None or isinstance(self.outlines, bool)):
            raise ConfigError(f"outlines is {self.outlines!r}; give True, False or None.")
