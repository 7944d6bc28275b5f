"""Settings of the classification by texts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import ConfigError

TEMPLATES = ("an H&E image of {}", "a histopathology image of {}")
"""Sentences in which {} is replaced by the text of a class."""
OUTSIDE = ("keep", "blur", "grey")
"""What the pixels of a crop outside of the object become."""


@dataclass(frozen=True, slots=True)
class TextSettings:
    """How objects are cropped, and how texts are embedded.

    The side of a crop follows Segment Anything (arXiv:2304.02643, section 7.5 and appendix D), where crops for CLIP
    have one to two times the size of the object's bounding box.
    """

    margin: float = 0.5
    """Context around an object on both sides together, as a multiple of the longer side of its bounding box."""
    min_crop_px: int = 32
    """Minimum side of a crop in image pixels."""
    outside: str = "keep"
    """What happens to the pixels outside of the object: keep, blur, or grey."""
    batch_size: int = 32
    """Number of crops that are embedded at a time."""
    templates: tuple[str, ...] = TEMPLATES
    """Sentences with {} for the text; the embeddings of all sentences of a class are averaged."""

    def __post_init__(self) -> None:
        if not 0 <= self.margin < math.inf:
            raise ConfigError(f"margin is {self.margin:g}; give a number of at least 0.")
        if self.min_crop_px < 1:
            raise ConfigError(f"min_crop_px is {self.min_crop_px}; give at least 1 pixel.")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}; give at least 1 crop.")
        if self.outside not in OUTSIDE:
            raise ConfigError(f"outside is '{self.outside}'; choose {', '.join(OUTSIDE)}.")
        if not self.templates:
            raise ConfigError(
                "There is no template; give at least one sentence, such as 'an H&E image of {}'."
            )
        for template in self.templates:
            if "{}" not in template:
                raise ConfigError(
                    f"The template '{template}' contains no {{}}; write {{}} where the text belongs."
                )
