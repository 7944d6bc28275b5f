"""SAM's mask decoder with learned tokens instead of prompts, shared by several heads."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn

from ..errors import WeightsError

WIDTH = 256
"""Channels of the decoder, and of the embedding it reads."""
POSITION_MATRIX = "pe_layer.positional_encoding_gaussian_matrix"
"""Name of the positional encoding in a head; in SAM, the name is preceded by "prompt_encoder."."""


class PositionEncoding(nn.Module):
    """Frozen random Fourier features of the cell centres (Tancik et al. 2020), as in SAM's prompt encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.positional_encoding_gaussian_matrix: Tensor
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, WIDTH // 2))

    def forward(self, height: int, width: int) -> Tensor:
        """Encode a grid that covers the square tile, as (1, 256, height, width)."""
        matrix = self.positional_encoding_gaussian_matrix
        # Centres of the cells, 0..1
        rows = (torch.arange(height, device=matrix.device, dtype=matrix.dtype) + 0.5) / height
        cols = (torch.arange(width, device=matrix.device, dtype=matrix.dtype) + 0.5) / width
        xy = torch.stack([cols.expand(height, width), rows[:, None].expand(height, width)], dim=-1)
        # Scale to -1..1 and project onto random frequencies
        angles = 2 * math.pi * ((2 * xy - 1) @ matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1).permute(2, 0, 1).unsqueeze(0)


class TokenDecoder(nn.Module):
    """Two-way transformer, upscaling and one small network for each mask, named as in SAM's decoder.

    Args:
        iou_tokens: Number of IoU tokens.
        mask_tokens: Number of mask tokens.
        mask_networks: Number of networks that turn mask tokens into masks.
        iou_outputs: Number of masks whose IoU is predicted; 0 omits the network.
    """

    def __init__(self, iou_tokens: int, mask_tokens: int, mask_networks: int, iou_outputs: int) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=2048, num_heads=8)
        self.iou_token = nn.Embedding(iou_tokens, WIDTH)
        self.mask_tokens = nn.Embedding(mask_tokens, WIDTH)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(WIDTH, WIDTH // 4, kernel_size=2, stride=2),
            LayerNorm2d(WIDTH // 4),
            nn.GELU(),
            nn.ConvTranspose2d(WIDTH // 4, WIDTH // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(WIDTH, WIDTH, WIDTH // 8, 3) for _ in range(mask_networks)
        )
        if iou_outputs:
            self.iou_prediction_head = MLP(WIDTH, WIDTH, iou_outputs, 3)

    def forward(self, image: Tensor, position: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Run cross-attention between tokens and image, then upscale the image.

        Args:
            image: (B, 256, h, w), the embedding plus the dense prompt.
            position: (1, 256, h, w), the positional encoding.
            tokens: (B, n, 256).

        Returns:
            The output tokens (B, n, 256), and the map at four times the size, (B, 32, 4h, 4w).
        """
        batch, channels, height, width = image.shape
        tokens, cells = self.transformer(image, position.expand(batch, -1, -1, -1), tokens)
        return tokens, self.output_upscaling(cells.transpose(1, 2).reshape(batch, channels, height, width))

    def masks(self, tokens: Tensor, upscaled: Tensor, networks: slice = slice(None)) -> Tensor:
        """Compute mask logits (B, m, 4h, 4w) from output tokens (B, m, 256), with network i for token i."""
        selected = list(self.output_hypernetworks_mlps)[networks]
        weights = torch.stack([network(tokens[:, i]) for i, network in enumerate(selected)], dim=1)
        return torch.einsum("bmc,bchw->bmhw", weights, upscaled)


def new_neck(channels: int) -> nn.Sequential:
    """Build a neck with random weights that reduces maps to 256 channels, as SAM's neck and SAM-Path's module R do."""
    return nn.Sequential(
        nn.Conv2d(channels, WIDTH, kernel_size=1, bias=False),
        LayerNorm2d(WIDTH),
        nn.Conv2d(WIDTH, WIDTH, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(WIDTH),
    )


def copy_position(layer: PositionEncoding, sam: Mapping[str, Tensor]) -> None:
    """Copy SAM's positional encoding, with which its decoder was trained."""
    own = layer.positional_encoding_gaussian_matrix
    with torch.no_grad():
        own.copy_(sam_tensor(sam, f"prompt_encoder.{POSITION_MATRIX}", own))


def copy_decoder(decoder: TokenDecoder, sam: Mapping[str, Tensor], skip: tuple[str, ...] = ()) -> None:
    """Copy SAM's mask decoder into the decoder of a head.

    Args:
        decoder: The decoder to change.
        sam: SAM's weights under its own names, `prompt_encoder.*` and `mask_decoder.*`.
        skip: Parts of names; tensors whose name contains one of them are not changed.

    Raises:
        WeightsError: If a tensor is missing or has a different shape.
    """
    with torch.no_grad():
        for name, own in decoder.state_dict().items():
            if not any(part in name for part in skip):
                own.copy_(sam_tensor(sam, f"mask_decoder.{name}", own))


def sam_tensor(sam: Mapping[str, Tensor], key: str, like: Tensor) -> Tensor:
    """Return SAM's tensor `key`, which must have the shape of `like`.

    Raises:
        WeightsError: If the tensor is missing or has a different shape.
    """
    tensor = sam.get(key)
    if tensor is None or tensor.shape != like.shape:
        fault = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
        raise WeightsError(
            f"The encoder's mask decoder is not SAM's: '{key}' is {fault} instead of {tuple(like.shape)}; "
            "choose a promptable encoder, such as 'vit_b' or 'sampath-tiny'."
        )
    return tensor
