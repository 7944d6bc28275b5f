"""Settings of *Find similar*, and all thresholds of the search."""

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


@dataclass(frozen=True, slots=True)
class CandidateHead:
    """A shipped head of which the objects are the candidates, if it finds the exemplars as well."""

    name: str
    min_iou: float
    """Minimum IoU of an exemplar with an object of the head that counts as the same object."""
    min_area_px: int
    """Minimum area of an object, in pixels of the 256 x 256 logits."""
    core_logit: float
    """Difference of the logits, object minus background, in the core of an object. Touching objects with separate cores
    are separated, unless the head predicts the depth of each pixel in its object, which separates them instead."""
    min_probability: float
    """Minimum mean probability of an object; higher by `UNLIKE_SIZE` if its area is e times that of the exemplars, or
    1/e of it."""
    diameters_px: tuple[float, float]
    """Range of the diameters of exemplars, in pixels of the encoder's input, for which the head is used."""
    high_resolution_px: float = 0.0
    """Diameter below which the head reads high-resolution tiles, unless the image is so small that standard tiles are
    enlarged."""
    rival: CandidateHead | None = None
    """Another head; if its objects agree better with an exemplar, the exemplar does not count as found."""


# Chosen on training images of bbbc038_nuclei and tnbc_nuclei. The head also calls small glands nuclei: the limit of
# 90 px was chosen with 30 validation images of ebhi_glands in view.
NUCLEI = CandidateHead("nucleus-instance", 0.25, 10, 0.0, 0.7, (0.0, 90.0), high_resolution_px=28.0)
# Chosen on training images of ebhi_glands: the core on 40, the probability on 18 others. The head also calls large
# nuclei glands: with the limit of 110 px and the rival, 10 instead of 63 of 136 on training images of bbbc038_nuclei.
GLANDS = CandidateHead("gland-cnn", 0.5, 30, 1.0, 0.8, (110.0, float("inf")), rival=NUCLEI)
CANDIDATE_HEADS = (NUCLEI, GLANDS)

UNLIKE_SIZE = 0.05
"""See `CandidateHead.min_probability`; chosen on training images of bbbc038_nuclei and tnbc_nuclei."""
ENLARGED = 1.25
"""Pixels of the encoder's input for each pixel of the image from which on a tile counts as enlarged."""
SMALL_PX = 96.0
"""Diameter of exemplars, in pixels of the encoder's input, below which prompts search high-resolution tiles."""
SEED_SIMILARITY = 0.45
"""Minimum similarity at a seed."""
SEED_ROUNDS = 2
"""Number of rounds of seeds; later rounds place seeds where no mask has been found."""
SEED_SPACING = 0.6
"""Minimum distance between seeds, in radii of the exemplars; of seeds closer to each other, the best is used."""
POINT_SIZES = (0.15, 6.0)
"""Range of the areas of candidates at points, in mean areas of the exemplars."""
CANDIDATE_SIZE_WEIGHT = 0.15
"""Amount by which the predicted IoU of an answer to a point must be higher if its area is e times that of the
exemplars, or 1/e of it."""
RANK_IOU_WEIGHT, RANK_SIZE_WEIGHT = 0.5, 0.15
"""Weights of the predicted IoU and of the logarithm of the area, when overlapping candidates are ranked."""
LEAST_SPREAD = 0.02
"""Lower limit of the difference in cosine similarity by which values are divided, so that noise is not amplified."""
REJECTION_WEIGHT = 2.0
"""Weight of the excess similarity to rejected objects."""
