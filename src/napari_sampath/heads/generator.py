"""Shaharabany et al.'s prompt generator g (AutoSAM, BMVC 2023) and its light decoder h, as networks.

g turns the image into the dense embedding that SAM's prompt encoder would give; h turns that embedding into a
mask without SAM. Written from the paper and a description of the published program, which carries no licence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from ..arrays import GRID
from ..errors import DatasetError
from .hardnet import PLANS, HarDNet
from .sam_decoder import WIDTH

IMAGE_CHANNELS = 3
BACKBONE = "convnext_atto_ols"
"""For new training: small, and its normalisation does not depend on the batch."""
_STRIDES = (4, 8, 16)
"""Of the backbone's maps that the decoder reads."""


class UpBlock(nn.Module):
    """Enlarge twice, put a finer map beside it, two convolutions, one normalisation, leaky ReLU."""

    def __init__(self, channels: int, skip: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels + skip, out, 3, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.BN = nn.BatchNorm2d(out)

    def forward(self, values: Tensor, finer: Tensor) -> Tensor:
        """Map (B, C, h, w) and (B, skip, 2h, 2w) to (B, out, 2h, 2w)."""
        large = functional.interpolate(values, size=finer.shape[-2:], mode="bilinear", align_corners=False)
        mixed = self.BN(self.conv2(self.conv1(torch.cat([large, finer], dim=1))))
        return functional.leaky_relu(mixed, 0.01)


class LastBlock(nn.Module):
    """Two convolutions with normalisation and ReLU between them."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTH, 3, padding=1)
        self.BN1 = nn.BatchNorm2d(WIDTH)
        self.conv2 = nn.Conv2d(WIDTH, out, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out, h, w)."""
        result: Tensor = self.conv2(functional.relu(self.BN1(self.conv1(values))))
        return result


class SmallDecoder(nn.Module):
    """From the backbone's maps at strides 4, 8 and 16 to one at stride 4 in -1..1.

    Args:
        channels: Of the maps at strides 4, 8 and 16.
        out: Channels of the result.
    """

    def __init__(self, channels: Sequence[int], out: int) -> None:
        super().__init__()
        quarter, eighth, sixteenth = channels
        self.up1 = UpBlock(sixteenth, eighth, eighth)
        self.up2 = UpBlock(eighth, quarter, quarter)
        self.final = LastBlock(quarter, out)

    def forward(self, quarter: Tensor, eighth: Tensor, sixteenth: Tensor) -> Tensor:
        """Map (B, C, S / 4, S / 4) and coarser to (B, out, S / 4, S / 4)."""
        result: Tensor = torch.tanh(self.final(self.up2(self.up1(sixteenth, eighth), quarter)))
        return result


class PromptGenerator(nn.Module):
    """g: image -> dense embeddings, one for each class.

    Args:
        backbone: One of `hardnet.PLANS`, or a timm model with `features_only` at strides 4, 8 and 16.
        count: Classes.

    Raises:
        DatasetError: If there is no such backbone.
    """

    def __init__(self, backbone: str, count: int) -> None:
        super().__init__()
        self.count = count
        if backbone in PLANS:
            # The reference's stage behind stride 16 (17.5 of 41.6 million weights) never reaches its answer.
            hardnet = HarDNet(PLANS[backbone], maps=4)
            self.backbone: nn.Module = hardnet
            channels = hardnet.channels[1:]
        else:
            self.backbone, channels = _timm_backbone(backbone)
        self.decoder = SmallDecoder(channels, WIDTH * count)

    def features(self, image: Tensor) -> Sequence[Tensor]:
        """Return the backbone's maps at strides 4, 8 and 16."""
        found: Sequence[Tensor] = self.backbone(image)
        return found[-len(_STRIDES) :]

    def forward(self, image: Tensor, grid: tuple[int, int] = (GRID, GRID)) -> Tensor:
        """Map (B, 3, S, S), S a multiple of 32, to embeddings (B, count, 256, *grid) in -1..1."""
        values: Tensor = self.decoder(*self.features(image))
        values = functional.interpolate(values, size=grid, mode="bilinear", align_corners=True)
        return values.reshape(len(values), self.count, WIDTH, *grid)


class SurrogateDecoder(nn.Module):
    """h: dense embedding -> mask logits at four times the size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(WIDTH, 64, kernel_size=3, stride=2, padding=1, output_padding=1)
        self.norm1 = LayerNorm2d(64)
        self.conv2 = nn.ConvTranspose2d(64, 16, kernel_size=2, stride=2)
        self.norm2 = LayerNorm2d(16)
        self.conv3 = nn.Conv2d(16, 1, kernel_size=1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map (B, 256, h, w) to (B, 1, 4h, 4w)."""
        values = functional.gelu(self.norm1(self.conv1(embedding)))
        result: Tensor = self.conv3(functional.gelu(self.norm2(self.conv2(values))))
        return result


def resize_image(image: Tensor, side: tuple[int, int], as_reference: bool) -> Tensor:
    """Resize a normalised image (B, 3, H, W) for g; as the reference does it, or without aliasing."""
    if as_reference:
        return functional.interpolate(image, size=side, mode="bilinear", align_corners=True)
    return functional.interpolate(image, size=side, mode="bilinear", align_corners=False, antialias=True)


def reference_state(generator: PromptGenerator, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pick g's weights out of the reference's, without those that never reach its answer.

    These are the backbone's stage behind stride 16 and the second normalisation of the last block.
    """
    layers = len(generator.backbone.base) if isinstance(generator.backbone, HarDNet) else 0
    picked = {}
    for key, value in state.items():
        first, *rest = key.split(".")
        if (first == "decoder" and "BN2" not in rest) or (
            first == "backbone" and rest[1].isdecimal() and int(rest[1]) < layers
        ):
            picked[key] = value
    return picked


def reference_backbone(state: Mapping[str, Tensor]) -> str | None:
    """Tell which HarDNet g's weights are of, by its second layer; None if of none."""
    for name, plan in PLANS.items():
        second = state.get("backbone.base.1.conv.weight")
        kernel = 1 if plan.depthwise else 3
        if second is not None and second.shape == (plan.first[1], plan.first[0], kernel, kernel):
            return name
    return None


def in_timm(name: str) -> bool:
    """Return True if timm builds the model itself; other names it looks for on the internet or on disk."""
    return ":" not in name and timm.is_model(name)


def _timm_backbone(name: str) -> tuple[nn.Module, list[int]]:
    try:
        if not in_timm(name):
            raise ValueError(name)
        whole: Any = timm.create_model(name, pretrained=False, features_only=True)
        strides = whole.feature_info.reduction()
        backbone: Any = timm.create_model(
            name, pretrained=False, features_only=True, out_indices=[strides.index(s) for s in _STRIDES]
        )
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise DatasetError(
            f"There is no backbone '{name}' with maps at strides 4, 8 and 16; give one of {', '.join(PLANS)}, or a "
            "convolutional model of timm, such as 'convnext_atto_ols' or 'resnet18'."
        ) from error
    return backbone, list(backbone.feature_info.channels())
