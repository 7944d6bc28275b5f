"""Settings of *Find similar*."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ConfigError


@dataclass(frozen=True, slots=True)
class SimilarSettings:
    """Criteria for keeping candidates; changing them needs no new search."""

    min_similarity: float = 0.65
    """Minimum similarity to the exemplars; 0 is typical of the background, 1 of an exemplar."""
    min_size: float = 0.1
    """Minimum area, as a multiple of the exemplars' mean area."""
    max_size: float = 10.0
    """Maximum area, as a multiple of the exemplars' mean area."""
    max_overlap: float = 0.3
    """Maximum share of an object's pixels that more similar objects cover, 0..1."""

    def __post_init__(self) -> None:
        if not -1 <= self.min_similarity <= 1:
            raise ConfigError(f"min_similarity is {self.min_similarity:g}; give a number from -1 to 1.")
        if not 0 <= self.min_size < self.max_size:
            raise ConfigError(
                f"min_size is {self.min_size:g} and max_size {self.max_size:g}; give multiples of the exemplars' "
                "area, the smaller first."
            )
        if not 0 <= self.max_overlap <= 1:
            raise ConfigError(f"max_overlap is {self.max_overlap:g}; give a share from 0 to 1.")
