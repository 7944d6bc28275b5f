"""Networks of Shaharabany et al. (AutoSAM, BMVC 2023): the prompt generator g and the light decoder h.

g maps the image to a dense embedding that replaces the output of SAM's prompt encoder; h maps that embedding to a mask
without SAM. Written from the paper and a description of the published code, which has no licence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from ...arrays import GRID
from ...errors import DatasetError, WeightsError
from ...geometry import INPUT_PX
from ..published import rename_tensors
from ..sam_decoder import WIDTH
from .hardnet import PLANS, HarDNet

IMAGE_CHANNELS = 3
CELL_PX = INPUT_PX // GRID
"""Side in image pixels of a cell of the embedding."""
BACKBONE = "convnext_atto_ols"
"""Default backbone for training: small, and its normalisation does not depend on the batch."""
_STRIDES = (4, 8, 16)
"""Strides of the backbone's maps that the decoder reads."""


class UpBlock(nn.Module):
    """Upscaling by 2, concatenation with a finer map, two convolutions, batch normalisation and leaky ReLU."""

    def __init__(self, channels: int, skip: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels + skip, out, 3, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.BN = nn.BatchNorm2d(out)

    def forward(self, values: Tensor, finer: Tensor) -> Tensor:
        """Map (B, C, h, w) and (B, skip, 2h, 2w) to (B, out, 2h, 2w)."""
        upscaled = functional.interpolate(values, size=finer.shape[-2:], mode="bilinear", align_corners=False)
        mixed = self.BN(self.conv2(self.conv1(torch.cat([upscaled, finer], dim=1))))
        return functional.leaky_relu(mixed, 0.01)


class LastBlock(nn.Module):
    """Two convolutions with batch normalisation and ReLU between them."""

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
    """Decoder that fuses the backbone's maps at strides 4, 8 and 16 into one map at stride 4, -1..1.

    Args:
        channels: Channels of the maps at strides 4, 8 and 16.
        out: Channels of the output.
    """

    def __init__(self, channels: Sequence[int], out: int) -> None:
        super().__init__()
        quarter, eighth, sixteenth = channels
        self.up1 = UpBlock(sixteenth, eighth, eighth)
        self.up2 = UpBlock(eighth, quarter, quarter)
        self.final = LastBlock(quarter, out)

    def forward(self, quarter: Tensor, eighth: Tensor, sixteenth: Tensor) -> Tensor:
        """Map (B, C, S / 4, S / 4) and two coarser maps to (B, out, S / 4, S / 4)."""
        result: Tensor = torch.tanh(self.final(self.up2(self.up1(sixteenth, eighth), quarter)))
        return result


class PromptGenerator(nn.Module):
    """The generator g: maps an image to one dense embedding for each class.

    Args:
        backbone: One of `hardnet.PLANS`, or a timm model with `features_only` and maps at strides 4, 8 and 16.
        count: Number of embeddings.

    Raises:
        DatasetError: If there is no such backbone.
    """

    def __init__(self, backbone: str, count: int) -> None:
        super().__init__()
        self.count = count
        if backbone in PLANS:
            # The published stage after stride 16 (17.5 of 41.6 million weights) has no effect on the output.
            hardnet = HarDNet(PLANS[backbone], maps=4)
            self.backbone: nn.Module = hardnet
            channels = hardnet.channels[1:]
        else:
            self.backbone, channels = _timm_backbone(backbone)
        self.decoder = SmallDecoder(channels, WIDTH * count)

    def features(self, image: Tensor) -> Sequence[Tensor]:
        """Return the backbone's maps at strides 4, 8 and 16."""
        maps: Sequence[Tensor] = self.backbone(image)
        return maps[-len(_STRIDES) :]

    def forward(self, image: Tensor, grid: tuple[int, int] = (GRID, GRID)) -> Tensor:
        """Map (B, 3, S, S), S a multiple of 32, to embeddings (B, count, 256, *grid) in -1..1."""
        values: Tensor = self.decoder(*self.features(image))
        values = functional.interpolate(values, size=grid, mode="bilinear", align_corners=True)
        return values.reshape(len(values), self.count, WIDTH, *grid)


class SurrogateDecoder(nn.Module):
    """The decoder h: maps a dense embedding to mask logits at four times the size."""

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
    """Resize a normalised image (B, 3, H, W) for g, as the published code does or with antialiasing."""
    if as_reference:
        return functional.interpolate(image, size=side, mode="bilinear", align_corners=True)
    return functional.interpolate(image, size=side, mode="bilinear", align_corners=False, antialias=True)


def import_generator(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Select g's weights from a published checkpoint and rename them to `generator.*`.

    Weights without effect on the output are omitted: the backbone's stage after stride 16 and the second
    normalisation of the last block.

    Returns:
        Name of the backbone, one of `hardnet.PLANS`, and the tensors.

    Raises:
        WeightsError: If the weights do not belong to a prompt generator.
    """
    backbone = reference_backbone(state)
    if backbone is None:
        raise WeightsError(
            "The weights do not belong to a prompt generator (keys backbone.base, decoder.up1); give the state_dict "
            "in the file 'net_best.pth' of AutoSAM (Shaharabany et al.)."
        )
    with torch.device("meta"):
        layers = len(HarDNet(PLANS[backbone], maps=4).base)
    parts = ["decoder.", *(f"backbone.base.{layer}." for layer in range(layers))]
    tensors = rename_tensors(state, {name: f"generator.{name}" for name in parts})
    return backbone, {name: tensor for name, tensor in tensors.items() if ".BN2." not in name}


def reference_backbone(state: Mapping[str, Tensor]) -> str | None:
    """Identify the HarDNet in g's weights by its second layer; return None if there is none."""
    for name, plan in PLANS.items():
        second = state.get("backbone.base.1.conv.weight")
        kernel = 1 if plan.depthwise else 3
        if second is not None and second.shape == (plan.first[1], plan.first[0], kernel, kernel):
            return name
    return None


def is_timm_model(name: str) -> bool:
    """Return True if timm defines the model itself; timm looks up other names on the internet or on disk."""
    import timm  # imports torchvision, which takes longer than reading most heads

    return ":" not in name and timm.is_model(name)


def _timm_backbone(name: str) -> tuple[nn.Module, list[int]]:
    import timm

    try:
        if not is_timm_model(name):
            raise ValueError(name)
        complete: Any = timm.create_model(name, pretrained=False, features_only=True)
        strides = complete.feature_info.reduction()
        backbone: Any = timm.create_model(
            name, pretrained=False, features_only=True, out_indices=[strides.index(s) for s in _STRIDES]
        )
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise DatasetError(
            f"There is no backbone '{name}' with maps at strides 4, 8 and 16; give one of {', '.join(PLANS)}, or a "
            "convolutional timm model, such as 'convnext_atto_ols' or 'resnet18'."
        ) from error
    return backbone, list(backbone.feature_info.channels())
