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
    """Largest number of epochs."""
    patience: int = setting(6, min=0)
    """Epochs without a better validation Dice after which training stops; 0 disables early stopping."""
    keep: str = setting("best", choices=("best", "last"))
    """"best" keeps the epoch with the highest validation Dice, "last" the last epoch, as the references do."""
    batch_size: int = setting(8, min=1)
    """Tiles per step, over all devices together."""
    accumulate: int = setting(1, min=1)
    """Batches whose gradients are averaged for each step of the optimiser."""
    loss: str = "ce_dice"
    """"ce_dice", "focal_dice" or "bce_dice"."""
    optimiser: str = setting("adamw", choices=("adamw", "adam"))
    """"adamw" (Loshchilov and Hutter 2019) or "adam"."""
    learning_rate: float = setting(2e-3, above=0)
    """Peak of the schedule."""
    weight_decay: float = setting(1e-3, min=0)
    """Weight decay of the optimiser."""
    gradient_clip: float = setting(1.0, min=0)
    """Largest norm of the gradient; 0 disables clipping."""
    schedule: str = setting("cosine", choices=("cosine", "steps", "plateau", "constant"))
    """"cosine" to 1 %, "steps" (a tenth at each of `drops`), "plateau" (a tenth after ten epochs without a lower loss
    of the last batch) or "constant"."""
    warmup_epochs: float = setting(1.0, min=0)
    """Epochs over which the learning rate rises from 0."""
    drops: tuple[float, ...] = ()
    """Epochs after which the schedule "steps" divides the learning rate by ten."""
    augmentation: str = setting("none", choices=("none", "dihedral", "pixels"))
    """"none"; "dihedral": the eight flips and rotations of a tile, each encoded once, which takes eight times as long
    before training starts; or "pixels": a new crop, rotation and stain at every step, for which the encoder runs at
    every step."""
    crop_share: float = setting(0.5, above=0, max=1)
    """Augmentation "pixels": smallest share of a tile's area that a crop keeps."""
    smallest_scale: float = setting(1.0, min=0.1, max=1)
    """Augmentation "pixels": smallest scale of a tile, so that a head also finds small objects; the area around it is
    filled by mirroring."""
    rotation_degrees: float = setting(0.0, min=0)
    """Augmentation "pixels": largest rotation in addition to quarter turns."""
    stain_jitter: float = setting(0.5, min=0, max=1)
    """Augmentation "pixels": strength of the changes of stain and brightness, 0 to 1."""
    balanced: bool = True
    """Draw rare classes and kinds of tissue as often as common ones."""
    window_cells: int = setting(32, min=4, max=GRID)
    """Side of the random window of the 64 x 64 feature grid that a step uses of each tile; 64 is the whole tile. 32
    costs a quarter and makes batches more varied."""
    max_images: int = setting(0, min=0)
    """Largest number of training images, drawn evenly over kinds of tissue and cases; 0 for all."""
    max_validation_images: int = setting(0, min=0)
    """Largest number of validation images during training, drawn in the same way; 0 for all."""
    held_out_share: float = setting(0.0, min=0, max=0.5)
    """Share of the training split, in whole cases, held out to choose the best epoch, so that the validation split
    stays unseen; 0 chooses on the validation split."""
    devices: int = setting(1, min=1)
    """Number of GPUs, or of processes on the CPU; torchrun sets its own number."""
    head_precision: str = setting("float32", choices=("float32", "bfloat16"))
    """"float32" or "bfloat16": arithmetic of the head during training."""
    save_every_s: float = setting(30.0, min=0)
    """Seconds between two checkpoints, from which a killed run resumes; 0 saves at every step."""
    half: bool = True
    """Store the weights as float16, which halves the file and does not change results noticeably."""
    seed: int = setting(0, min=0)
    """Seed of all random numbers; the same seed on the same machine gives the same head."""
    head_arguments: Mapping[str, Argument] = field(default_factory=dict)
    """Arguments of the head, such as depth and top_channel of "cnn"."""
    loss_arguments: Mapping[str, float | bool] = field(default_factory=dict)
    """Arguments of the loss, such as dice_weight of "ce_dice"."""

    def __post_init__(self) -> None:
        check_settings(self)
        if list(self.drops) != sorted(self.drops):
            raise ConfigError(f"drops is {self.drops!r}; give the epochs in ascending order.")
        if self.batch_size % self.devices:
            raise ConfigError(
                f"batch_size is {self.batch_size} for {self.devices} devices; give a multiple of {self.devices}."
            )
