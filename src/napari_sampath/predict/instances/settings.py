"""Settings of telling objects apart, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

from ...config import ConfigError


@dataclass(frozen=True, slots=True)
class InstanceSettings:
    """Settings of `segment_instances`; lengths are relative to the objects, so that any magnification will do.

    Raises:
        ConfigError: If a value is not allowed.
    """

    min_area_px: int = 20
    """Objects of fewer pixels are left out, and none is cut into parts as small."""
    threshold: float = 0.0
    """Pixels whose class has a probability below this belong to no object, 0 to 1."""
    neck: float = 0.9
    """Two parts are two objects where the way between them is narrower than this share of the narrower part's width,
    0 to 1; 0 cuts nothing."""
    smoothing: float = 0.1
    """How far the distance from the outline is smoothed before parts are looked for, as a share of half the width of
    the thickest part, 0 to 1."""
    agreement: float = 0.5
    """The model's outline of an object is taken where its IoU with the head's is at least this, 0 to 1; elsewhere the
    head's stays."""

    def __post_init__(self) -> None:
        for name in ("min_area_px", "threshold", "neck", "smoothing", "agreement"):
            value = getattr(self, name)
            whole = name == "min_area_px"
            right = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
            if not right or not (value >= 1 if whole else 0 <= value <= 1):
                allowed = "a whole number of at least 1" if whole else "a number from 0 to 1"
                raise ConfigError(f"{name} is {value!r}; give {allowed}.")
