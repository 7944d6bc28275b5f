"""HarDNet (Chao et al. 2019) without its classifier: the backbone of Shaharabany et al.'s prompt generator.

In a harmonic dense block, layer L reads the layers L - 2**n for every power of two 2**n that divides L.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of a HarDNet, from Chao et al. 2019, Table 1, and for HarDNet-85 from the published code."""

    first: tuple[int, int]
    """Channels of the first two convolutions."""
    channels: tuple[int, ...]
    """Channels after each block."""
    growth: tuple[int, ...]
    """Channels of a layer with one link, for each block."""
    layers: tuple[int, ...]
    """Number of layers of each block."""
    downsample: tuple[bool, ...]
    """Whether the map is downsampled by 2 after each block."""
    multiplier: float = 1.7
    """Factor by which each further link increases the channels of a layer."""
    depthwise: bool = False
    """Whether the network uses depthwise separable convolutions."""
    dropout: bool = False
    """Whether dropout of 0.1 precedes the last convolution."""


PLANS = {
    "hardnet85": Plan(
        (48, 96),
        (192, 256, 320, 480, 720, 1280),
        (24, 24, 28, 36, 48, 256),
        (8, 16, 16, 16, 16, 4),
        (True, False, True, False, True, False),
        dropout=True,
    ),
    "hardnet68": Plan(
        (32, 64),
        (128, 256, 320, 640, 1024),
        (14, 16, 20, 40, 160),
        (8, 16, 16, 16, 4),
        (True, False, True, True, False),
    ),
    "hardnet68ds": Plan(
        (32, 64),
        (128, 256, 320, 640, 1024),
        (14, 16, 20, 40, 160),
        (8, 16, 16, 16, 4),
        (True, False, True, True, False),
        depthwise=True,
    ),
    "hardnet39ds": Plan(
        (24, 48), (96, 320, 640), (16, 20, 64), (4, 16, 8), (True, True, False), 1.6, depthwise=True
    ),
}
"""Sizes by name; hardnet39ds lacks its last block, as in the published prompt generator."""


class ConvLayer(nn.Module):
    """Convolution, batch normalisation and ReLU6."""

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out)
        self.relu = nn.ReLU6()

    def forward(self, values: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out, h / stride, w / stride)."""
        result: Tensor = self.relu(self.norm(self.conv(values)))
        return result


class DepthwiseLayer(nn.Module):
    """Depthwise 3 x 3 convolution and batch normalisation."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, values: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h / stride, w / stride)."""
        result: Tensor = self.norm(self.dwconv(values))
        return result


class SeparableLayer(nn.Module):
    """Pointwise convolution followed by a depthwise convolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.layer1 = ConvLayer(channels, out, kernel=1)
        self.layer2 = DepthwiseLayer(out)

    def forward(self, values: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out, h, w)."""
        result: Tensor = self.layer2(self.layer1(values))
        return result


class HarmonicBlock(nn.Module):
    """Harmonic dense block, whose output concatenates the odd-numbered layers and the last layer.

    Args:
        channels: Channels of the input, which counts as layer 0.
        growth: Channels of a layer with one link.
        count: Number of layers.
        multiplier: Factor by which each further link increases the channels of a layer.
        depthwise: Use depthwise separable layers.
    """

    def __init__(self, channels: int, growth: int, count: int, multiplier: float, depthwise: bool) -> None:
        super().__init__()
        self.links = [_links(layer) for layer in range(1, count + 1)]
        widths = [channels]
        layers: list[nn.Module] = []
        for links in self.links:
            width = growth * multiplier ** (len(links) - 1)
            widths.append(int(int(width + 1) / 2) * 2)
            kind = SeparableLayer if depthwise else ConvLayer
            layers.append(kind(sum(widths[link] for link in links), widths[-1]))
        self.layers = nn.ModuleList(layers)
        self.kept = [layer for layer in range(1, count + 1) if layer % 2 or layer == count]
        self.out_channels = sum(widths[layer] for layer in self.kept)

    def forward(self, values: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, `out_channels`, h, w)."""
        outputs = [values]
        # Each layer reads the concatenated outputs of the layers it is linked to
        for links, layer in zip(self.links, self.layers, strict=True):
            outputs.append(layer(torch.cat([outputs[link] for link in links], dim=1)))
        return torch.cat([outputs[layer] for layer in self.kept], dim=1)


def _links(layer: int) -> list[int]:
    """List the layers that a layer is linked to, nearest first."""
    return [layer - 2**i for i in range(layer.bit_length()) if layer % 2**i == 0]


class HarDNet(nn.Module):
    """HarDNet backbone; returns the map before each downsampling, and the last map.

    Args:
        plan: One of `PLANS`.
        maps: Number of maps to return, from the finest on; 0 returns all. Layers that are not needed are not built.
    """

    def __init__(self, plan: Plan, maps: int = 0) -> None:
        super().__init__()
        first, second = plan.first
        # Stem: two convolutions and a downsampling, stride 4
        base: list[nn.Module] = [
            ConvLayer(3, first, stride=2),
            ConvLayer(first, second, kernel=1 if plan.depthwise else 3),
            DepthwiseLayer(second, stride=2) if plan.depthwise else nn.MaxPool2d(3, stride=2, padding=1),
        ]
        self.taps = [1]
        self.channels = [second]
        width = second
        for number, (out, growth, count, downsample) in enumerate(
            zip(plan.channels, plan.growth, plan.layers, plan.downsample, strict=True)
        ):
            # Harmonic block, then a 1 x 1 convolution that reduces its channels
            block = HarmonicBlock(width, growth, count, plan.multiplier, plan.depthwise)
            base.append(block)
            last = number == len(plan.channels) - 1
            if plan.dropout and last:
                base.append(nn.Dropout(0.1))
            base.append(ConvLayer(block.out_channels, out, kernel=1))
            width = out
            # The map before each downsampling is an output
            if downsample or last:
                self.taps.append(len(base) - 1)
                self.channels.append(width)
            if downsample:
                base.append(DepthwiseLayer(width, stride=2) if plan.depthwise else nn.MaxPool2d(2))
        if maps:
            self.taps, self.channels = self.taps[:maps], self.channels[:maps]
        self.base = nn.ModuleList(base[: self.taps[-1] + 1])

    def forward(self, image: Tensor) -> Sequence[Tensor]:
        """Map a normalised image (B, 3, S, S) to maps at strides 2, 4, 8, 16 and, except for hardnet39ds, 32."""
        maps, values = [], image
        for index, layer in enumerate(self.base):
            values = layer(values)
            if index in self.taps:
                maps.append(values)
        return maps
