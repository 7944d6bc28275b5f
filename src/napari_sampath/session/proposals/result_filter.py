"""Which parts of a head's result are used."""

from __future__ import annotations

from typing import TypeAlias

Wishes: TypeAlias = tuple[int, dict[int, float], bool]
"""Least size in pixels, thresholds by class id, and whether objects that touch are cut."""


NamedFilters: TypeAlias = tuple[int, dict[str, float], bool]
"""The same with thresholds by class name: another head may have other ids."""


MIN_AREA_PX = 16
"""Smaller pieces of a head's result are noise and become no annotations, unless the user says otherwise."""
