"""Settings of the export of a project as a training dataset."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ConfigError
from ...settings import check_settings, setting

ALL, VERIFIED = "all", "verified"
PROJECT_SPLITS, NEW_SPLITS, NO_SPLITS = "project", "new", "none"
BACKGROUND, IGNORE = "background", "ignore"


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What is exported, how images are split, and how they are cut into patches."""

    images: str = setting(ALL, choices=(ALL, VERIFIED), label="Images")
    """Images or patches to export: all with annotations, or only those in which every pixel is verified."""
    split: str = setting(PROJECT_SPLITS, choices=(PROJECT_SPLITS, NEW_SPLITS, NO_SPLITS), label="Splits")
    """Splits by slide or case: those of the project, new ones by the two shares, or none."""
    val_share: float = setting(0.2, min=0, max=0.9, step=0.05, label="Validation share")
    """Share of the images in the validation set, for new splits."""
    test_share: float = setting(0.0, min=0, max=0.9, step=0.05, label="Test share")
    """Share of the images in the test set, for new splits."""
    patch_px: int = setting(0, min=0, max=8192, step=128, label="Patch size (px)")
    """Side of the square patches, in pixels after the change of scale; 0 exports whole images."""
    overlap_px: int = setting(0, min=0, max=4096, step=16, label="Overlap (px)")
    """Overlap of neighbouring patches in pixels."""
    mpp: float = setting(0.0, min=0, max=100, step=0.05, label="Pixel size (um)")
    """Micrometres per pixel of the exported images; 0 keeps the scale of each image."""
    assumed_mpp: float = setting(0.0, min=0, max=100, step=0.05, label="If unknown (um)")
    """Micrometres per pixel of images whose scale is unknown; 0 leaves them out if the scale is changed."""
    min_visible: float = setting(0.1, min=0, max=1, step=0.05, label="Min. visible share")
    """Share of an object that must be inside a patch; 1 keeps only whole objects."""
    unverified: str = setting(BACKGROUND, choices=(BACKGROUND, IGNORE), label="Unverified pixels")
    """Pixels without a label that nobody verified: background, or ignored by programs that can (masks, nnU-Net)."""
    reviewed_only: bool = setting(False, label="Only reviewed objects")
    """Leave out objects that nobody made, changed or reviewed."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.patch_px and self.overlap_px >= self.patch_px:
            raise ConfigError(
                f"overlap_px is {self.overlap_px}, but patches have {self.patch_px} px; give a smaller overlap."
            )
        if self.overlap_px and not self.patch_px:
            raise ConfigError(f"overlap_px is {self.overlap_px}, but no patches are cut; give patch_px too.")
        if self.val_share + self.test_share > 0.95:
            raise ConfigError(
                f"val_share and test_share are {self.val_share:g} and {self.test_share:g}; give a sum of at most 0.95."
            )
