"""Settings of the mask generator, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

from ...config import ConfigError


@dataclass(frozen=True, slots=True)
class EverythingSettings:
    """Settings of the mask generator, with the names and defaults of `SamAutomaticMaskGenerator`.

    Raises:
        ConfigError: If a value is not allowed.
    """

    points_per_side: int = 32
    """Points along each side of the grid over the image."""
    points_per_batch: int = 64
    """Points decoded at once, at most."""
    pred_iou_thresh: float = 0.88
    """Masks with a predicted IoU up to this are dropped; none for 0 and below."""
    stability_score_thresh: float = 0.95
    """Masks with a stability score below this are dropped; none for 0 and below."""
    stability_score_offset: float = 1.0
    """How far the threshold of logits is moved up and down to see whether the mask is stable."""
    box_nms_thresh: float = 0.7
    """Of masks of one crop whose boxes have more than this IoU, the one with the best predicted IoU stays."""
    crop_n_layers: int = 0
    """How many times crops are made besides the whole image; layer i has 2**i a side."""
    crop_nms_thresh: float = 0.7
    """As `box_nms_thresh`, between crops; the mask from the smaller crop stays."""
    crop_overlap_ratio: float = 512 / 1500
    """Overlap of the first layer's crops, as a share of the image's shorter side."""
    crop_n_points_downscale_factor: int = 1
    """`points_per_side` is divided by this once for every layer."""
    min_mask_region_area: int = 0
    """Holes and islands of fewer pixels are filled and removed; 0 leaves them."""
    drop_over_half_image: bool = False
    """Drop masks that cover more than half of the image (the 'PP' of SAM-Path's baseline)."""

    def __post_init__(self) -> None:
        for name, least in _LEAST_WHOLE.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ConfigError(f"{name} is {value!r}; give a whole number of at least {least}.")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not low <= float(value) <= high:
                allowed = "a finite number" if low == -_LARGEST else f"a number from {low:g} to {high:g}"
                raise ConfigError(f"{name} is {value!r}; give {allowed}.")
        if self.points_in_layer(self.crop_n_layers) < 1:
            raise ConfigError(
                f"points_per_side is {self.points_per_side}: divided {self.crop_n_layers} times by the "
                f"crop_n_points_downscale_factor {self.crop_n_points_downscale_factor} no point is left; "
                "give more points or fewer layers."
            )

    def points_in_layer(self, layer: int) -> int:
        """Points along a side of each crop of a layer."""
        return int(self.points_per_side / self.crop_n_points_downscale_factor**layer)


_LARGEST = 1e30
_LEAST_WHOLE = {
    "points_per_side": 1,
    "points_per_batch": 1,
    "crop_n_layers": 0,
    "crop_n_points_downscale_factor": 1,
    "min_mask_region_area": 0,
}
_RANGES = {
    "pred_iou_thresh": (-_LARGEST, _LARGEST),
    "stability_score_thresh": (-_LARGEST, _LARGEST),
    "stability_score_offset": (0.0, 1000.0),
    "box_nms_thresh": (0.0, 1.0),
    "crop_nms_thresh": (0.0, 1.0),
    "crop_overlap_ratio": (0.0, 0.9),
}
