"""Settings of the mask generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import ConfigError
from ...settings import check_settings, setting
from ..head_tiles import LARGEST_TILE_PX

if TYPE_CHECKING:
    from ...encoders import EncoderInfo


@dataclass(frozen=True, slots=True)
class EverythingSettings:
    """Settings of the mask generator, with the names and defaults of `SamAutomaticMaskGenerator`.

    `max_covered` below 1 replaces SAM's selection, which keeps an object together with its parts, by a selection of
    whole objects. The fields after `drop_over_half_image` are not SAM's; their defaults change nothing.

    Raises:
        ConfigError: If a value is not allowed.
    """

    points_per_side: int = setting(32, min=1, label="Points per side")
    """Points along each side of the grid over the image."""
    points_per_batch: int = setting(64, min=1)
    """Maximum number of points decoded at once."""
    pred_iou_thresh: float = setting(0.88, label="Min. predicted IoU")
    """Masks whose predicted IoU is not above this are dropped; 0 or less keeps all."""
    stability_score_thresh: float = 0.95
    """Masks with a lower stability score are dropped; 0 or less keeps all."""
    stability_score_offset: float = setting(1.0, min=0, max=1000)
    """Offset by which the threshold on the logits is raised and lowered to measure stability."""
    box_nms_thresh: float = setting(0.7, min=0, max=1)
    """If the boxes of masks in a crop have a larger IoU than this, only the best mask by predicted IoU is kept."""
    crop_n_layers: int = setting(0, min=0)
    """Number of layers of crops besides the whole image; layer i has 2**i crops per side."""
    crop_nms_thresh: float = setting(0.7, min=0, max=1)
    """Like `box_nms_thresh`, but between crops; the mask from the smaller crop is kept."""
    crop_overlap_ratio: float = setting(512 / 1500, min=0, max=0.9)
    """Overlap of the first layer's crops, as a fraction of the image's shorter side."""
    crop_n_points_downscale_factor: int = setting(1, min=1)
    """`points_per_side` of layer i is divided by this to the power of i."""
    min_mask_region_area: int = setting(0, min=0, label="Min. area")
    """Holes with fewer pixels are filled, and islands with fewer pixels are removed; 0 keeps both."""
    drop_over_half_image: bool = False
    """Drop masks that cover more than half of the image (post-processing of the SAM baseline in the SAM-Path paper)."""
    tile_px: int = setting(0, min=0, max=LARGEST_TILE_PX, label="Tile size")
    """Side of the tiles into which larger images are divided, each with its own grid of points, in pixels; 0 does not
    divide images, as SAM. Values from 1 to 127 count as 128. Not used with layers of crops."""
    max_area_share: float = setting(1.0, min=0, max=1, label="Max. area")
    """Masks that cover a larger fraction of the image or tile than this are dropped."""
    min_area_px: int = setting(0, min=0)
    """Masks with fewer pixels are dropped."""
    max_covered: float = setting(1.0, min=0, max=1, label="Max. overlap")
    """Masks are dropped if more than this fraction of them is covered by better masks; 1 keeps objects with their
    parts, as SAM."""
    size_weight: float = setting(0.0, min=0, max=1)
    """Of overlapping masks, the best has the highest predicted IoU times stability times area to the power of this;
    larger values prefer whole objects to their parts."""
    min_relative_area: float = setting(0.0, min=0, max=1, label="Min. relative area")
    """Masks are dropped if they are smaller than this fraction of the typical mask; half of the selected area is in
    masks larger than that. Among glands, this leaves out nuclei; 0 keeps objects of all sizes."""

    window_cells: int = setting(0, min=0, max=64)
    """Side of the window around each point that the decoder reads, in cells of 16 px of the square input, a multiple of
    8; 0 reads the whole tile, as SAM. Masks that a window cuts off are dropped. Only for `sampath-tiny`."""
    whole_points_per_side: int = setting(0, min=0)
    """Points along each side of a second grid, for objects that are larger than a window; the decoder reads the whole
    tile for these points. Not used if `window_cells` is 0."""
    use_heads: bool = setting(False, label="Use heads")
    """The boxes of objects that a shipped head finds are prompts, too: of glands on images like the training images of
    that head, otherwise of nuclei. Only for the shipped weights of `sampath-tiny`."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.window_cells % 8:
            raise ConfigError(f"window_cells is {self.window_cells}; give a multiple of 8 up to 64.")
        if self.points_in_layer(self.crop_n_layers) < 1:
            raise ConfigError(
                f"points_per_side is {self.points_per_side}, which leaves no point in layer {self.crop_n_layers} "
                f"(crop_n_points_downscale_factor is {self.crop_n_points_downscale_factor}); "
                "give more points or fewer layers."
            )

    @classmethod
    def of_model(cls, info: EncoderInfo) -> EverythingSettings:
        """Return the settings that were calibrated for a model, or SAM's if there are none."""
        return cls(**info.everything)

    def points_in_layer(self, layer: int) -> int:
        """Return the number of points along a side of each crop of a layer."""
        return int(self.points_per_side / self.crop_n_points_downscale_factor**layer)
