"""ConvNeXt (Liu et al. 2022) with an overlapping stem, with the names and results of timm's `convnext_*_ols`.

timm imports torchvision and with it the compiler of PyTorch, which would take longer than everything else that a prompt
on an encoded image needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = {"convnext_atto_ols": 40, "convnext_femto_ols": 48}
"""Name in timm -> channels of the first stage."""
STEM_CHANNELS = 24
DEPTHS = (2, 2, 6, 2)
"""Number of blocks of each stage."""


class ConvNeXt(nn.Module):
    """Maps (B, 3, H, W) to the maps of four stages at strides 4, 8, 16 and 32.

    Args:
        width: Channels of the first stage; each later one has twice as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = [width * 2**stage for stage in range(len(DEPTHS))]
        self.stem_0 = nn.Conv2d(3, STEM_CHANNELS, kernel_size=3, stride=2, padding=1)
        self.stem_1 = nn.Conv2d(STEM_CHANNELS, width, kernel_size=3, stride=2, padding=1)
        self.stem_2 = LayerNorm2d(width)
        for number, (channels, depth) in enumerate(zip(self.channels, DEPTHS, strict=True)):
            self.add_module(f"stages_{number}", Stage(channels, depth, first=number == 0))

    def draw_weights(self) -> None:
        """Draw random weights for training as timm does; this takes longer than loading trained ones."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps of all stages, the finest first."""
        maps = [self.stem_2(self.stem_1(self.stem_0(pixels)))]
        for number in range(len(DEPTHS)):
            maps.append(self.get_submodule(f"stages_{number}")(maps[-1]))
        return maps[1:]


class Stage(nn.Module):
    """Blocks of one resolution; all but the first stage begin with halving it."""

    def __init__(self, channels: int, depth: int, first: bool) -> None:
        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        if not first:
            halving = nn.Conv2d(channels // 2, channels, kernel_size=2, stride=2)
            self.downsample = nn.Sequential(LayerNorm2d(channels // 2), halving)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, channels, H / 2, W / 2), or to the same size in the first stage."""
        return self.blocks(self.downsample(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Depthwise convolution, norm and two 1 x 1 convolutions, scaled and added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = LayerNorm2d(channels)
        self.mlp = nn.Module()
        self.mlp.fc1 = nn.Conv2d(channels, 4 * channels, kernel_size=1)
        self.mlp.fc2 = nn.Conv2d(4 * channels, channels, kernel_size=1)
        self.gamma = nn.Parameter(1e-6 * torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same size."""
        hidden = functional.gelu(self.mlp.fc1(self.norm(self.conv_dw(x))))  # type: ignore[operator]
        return self.mlp.fc2(hidden).mul(self.gamma.reshape(1, -1, 1, 1)) + x  # type: ignore[operator,no-any-return]


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same size."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
