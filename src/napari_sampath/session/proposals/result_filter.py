"""Settings that select which parts of a head's result become objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...settings import setting

MIN_AREA_PX = 16
"""Default minimum area in the docks; smaller components of a head's result are mostly noise."""


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """Which parts of a head's result become objects. The default keeps everything."""

    min_area_px: int = setting(1, min=1, max=10**9, label="Min. area (px)")
    """Minimum area of an object in pixels; smaller objects are dropped."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Class name -> minimum probability, 0..1; pixels of the class below it are dropped."""
    separate_touching: bool = setting(False, label="Separate touching objects")
    """Split objects at narrow necks, so that each nucleus becomes an object."""


KEEP_ALL = ResultFilter()
