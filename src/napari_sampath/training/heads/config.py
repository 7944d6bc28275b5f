"""Configuration of the training of a head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...arrays import GRID
from ...errors import ConfigError
from ...heads.base import Argument
from ...settings import check_settings, setting


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Configuration of one training run; the defaults suit a few hundred images on two cores."""

    epochs: int = setting(20, min=1)
    """Maximum number of epochs."""
    patience: int = setting(6, min=0)
    """Number of epochs without a better validation Dice after which training stops; 0 disables early stopping."""
    keep: str = setting("best", choices=("best", "last"))
    """Weights to keep: "best" for the epoch with the highest validation Dice, "last" for the last epoch, as in the
    references."""
    batch_size: int = setting(8, min=1)
    """Number of tiles per batch, summed over all devices."""
    accumulate: int = setting(1, min=1)
    """Number of batches whose gradients are averaged for one optimiser step."""
    loss: str = "ce_dice"
    """Loss: "ce_dice", "focal_dice" or "bce_dice"."""
    optimiser: str = setting("adamw", choices=("adamw", "adam"))
    """Optimiser: "adamw" (Loshchilov and Hutter 2019) or "adam"."""
    learning_rate: float = setting(2e-3, above=0)
    """Peak learning rate of the schedule."""
    weight_decay: float = setting(1e-3, min=0)
    """Weight decay of the optimiser."""
    gradient_clip: float = setting(1.0, min=0)
    """Maximum norm of the gradient; 0 disables clipping."""
    schedule: str = setting("cosine", choices=("cosine", "steps", "plateau", "constant"))
    """Learning rate schedule: "cosine" (decay to 1 % of the peak), "steps" (division by ten at the epochs in `drops`),
    "plateau" (division by ten after ten epochs in which the loss of the last batch has not improved) or "constant"."""
    warmup_epochs: float = setting(1.0, min=0)
    """Number of epochs over which the learning rate rises from 0 to its peak."""
    drops: tuple[float, ...] = ()
    """Epochs after which the schedule "steps" divides the learning rate by ten."""
    augmentation: str = setting("none", choices=("none", "dihedral", "pixels"))
    """Augmentation: "none"; "dihedral" (the eight flips and rotations of each tile, all encoded before training, which
    takes eight times as long); or "pixels" (a new crop, rotation and stain at every step, so that the encoder runs at
    every step)."""
    crop_share: float = setting(0.5, above=0, max=1)
    """Minimum fraction of a tile's area that a crop keeps, with the augmentation "pixels"."""
    smallest_scale: float = setting(1.0, min=0.1, max=1)
    """Minimum scale of mosaics, or of tiles with the augmentation "pixels" (whose margins are filled by mirroring), so
    that a head also learns to segment small objects."""
    mosaics: int = setting(0, min=0)
    """Number of mosaics of neighbouring images that are added to the training images, with a scale from
    `smallest_scale` to 1, random orientation and stain. They are encoded once. Mosaics are added to the validation
    images in proportion. 0 adds none."""
    rotation_degrees: float = setting(0.0, min=0)
    """Maximum rotation in degrees, in addition to quarter turns, with the augmentation "pixels"."""
    stain_jitter: float = setting(0.5, min=0, max=1)
    """Strength of random changes of stain and brightness, 0 to 1, of mosaics and with the augmentation "pixels"."""
    balanced: bool = True
    """Whether rare classes and rare kinds of tissue are sampled as often as common ones."""
    window_cells: int = setting(32, min=4, max=GRID)
    """Side of the random window of the 64 x 64 feature grid that each step uses from a tile; 64 uses the whole tile. 32
    takes a quarter of the time."""
    max_images: int = setting(0, min=0)
    """Maximum number of training images, sampled evenly over kinds of tissue and cases; 0 for all."""
    max_validation_images: int = setting(0, min=0)
    """Maximum number of validation images during training, sampled evenly in the same way; 0 for all."""
    held_out_share: float = setting(0.0, min=0, max=0.5)
    """Fraction of the training split that is held out, in whole cases, to choose the best epoch, so that the validation
    split stays unseen; with 0 the validation split is used to choose it."""
    devices: int = setting(1, min=1)
    """Number of GPUs, or of processes on the CPU; ignored under torchrun, which sets the number itself."""
    head_precision: str = setting("float32", choices=("float32", "bfloat16"))
    """Precision of the head during training: "float32" or "bfloat16"."""
    save_every_s: float = setting(30.0, min=0)
    """Time between two checkpoints in seconds; 0 saves one at every step. A killed run resumes from its checkpoint."""
    half: bool = True
    """Whether the weights are stored as float16, which halves the file size and does not change results noticeably."""
    seed: int = setting(0, min=0)
    """Random seed; the same seed on the same machine gives the same head."""
    start: str = ""
    """Head with which training starts: a file or the name of a shipped one, of the same kind, with the same encoder and
    number of classes. New weights are used if it is left out."""
    head_arguments: Mapping[str, Argument] = field(default_factory=dict)
    """Arguments of the head, such as `depth` and `top_channel` for "cnn"."""
    loss_arguments: Mapping[str, float | bool] = field(default_factory=dict)
    """Arguments of the loss, such as `dice_weight` for "ce_dice"."""

    def __post_init__(self) -> None:
        check_settings(self)
        if list(self.drops) != sorted(self.drops):
            raise ConfigError(f"drops is {self.drops!r}; give the epochs in ascending order.")
        if self.mosaics and self.smallest_scale == 1:
            raise ConfigError(
                f"mosaics is {self.mosaics}, but smallest_scale is 1, so they would show nothing smaller; set it to "
                "less than 1, such as 0.25."
            )
        if self.batch_size % self.devices:
            raise ConfigError(
                f"batch_size is {self.batch_size} for {self.devices} devices; give a multiple of {self.devices}."
            )
