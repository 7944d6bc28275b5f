"""Base class of all encoders, and the registry of encoders by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor, nn
from torch.nn import functional

from ..arrays import FeatureSpec, UInt8Array
from ..config import load_config
from ..geometry import Frame
from ..jobs import Job
from ..registry import Registry
from .text_projection import TextProjection

SAM_MEAN = (123.675, 116.28, 103.53)
"""Mean of each channel, RGB in 0..255."""
SAM_STD = (58.395, 57.12, 57.375)
"""Standard deviation of each channel, RGB in 0..255; both are ImageNet's, as in `segment_anything/build_sam.py`."""


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """Description of an encoder, available before its weights are loaded."""

    name: str
    summary: str
    """One line for menus and `sampath models`."""
    licence: str
    source_url: str
    """Address of the page with the weights and their licence."""
    promptable: bool
    """True if the model includes SAM's prompt encoder and mask decoder."""
    size_mb: float
    """Size of the weights file in MB; 0 if unknown."""
    gated: bool = False
    """True if users must request access and accept the terms before downloading the weights."""
    attribution: str = ""
    """Images that the shipped weights were trained on, with licences and citations; empty for other weights."""
    model_card: Path | None = None
    """Markdown file on training, scores and limits; None if the page at `source_url` describes the weights."""
    everything: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Fields of `EverythingSettings` that were calibrated for the model; SAM's values apply to the others."""
    redecode_share: float | None = None
    """Share of the tile, 0..1, above which the best mask for a single point is decoded again, with its bounding box;
    None decodes once, as SAM does. See `predict.decoder.large_objects`."""


class Encoder(nn.Module, ABC):
    """A frozen network that maps one tile to feature maps (C, 64, 64).

    Args:
        info: Description of the encoder.
        spec: The output maps.
        weights_digest: Hex digest that changes when any weight changes; part of the key of stored features.
        mean: Mean of each channel, RGB in 0..255.
        std: Standard deviation of each channel, RGB in 0..255.
        input_px: Side of the network's input in pixels if it differs from that of the frame: patches of 14 px need
            896 px for 64 x 64 tokens. The frame itself stays unchanged.
    """

    preprocessing_version = 1
    """Version of the preprocessing; increase it with every change, so that old cached features are not reused."""

    def __init__(
        self,
        info: EncoderInfo,
        spec: FeatureSpec,
        weights_digest: str,
        mean: tuple[float, float, float] = SAM_MEAN,
        std: tuple[float, float, float] = SAM_STD,
        input_px: int | None = None,
    ) -> None:
        super().__init__()
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        self.info = info
        self.spec = spec
        self.weights_digest = weights_digest
        self.input_px = input_px
        self.register_buffer("pixel_mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def adapt_frame(self, frame: Frame) -> Frame:
        """Return the frame with this encoder's mapping from window to input; unchanged by default."""
        return frame

    def preprocess(self, image: UInt8Array, frame: Frame) -> Tensor:
        """Crop a window, resize, normalise and pad it as SAM does.

        Args:
            image: (H, W, 3) uint8 RGB, the whole image.
            frame: The window.

        Returns:
            (3, S, S) float32 on this encoder's device, S = 1024 unless the encoder or the frame differs.
        """
        if self.input_px is not None:
            frame = replace(frame, input_px=self.input_px)
        window = image[frame.slices]
        # Resize on the CPU and move to the device
        resized = upload(resize_longest_side(window, frame), self.pixel_mean.device)
        # Contiguous, because arithmetic on interleaved channels takes three times as long
        pixels = self.normalise(resized.permute(2, 0, 1).contiguous().float(), window)
        # Pad at the bottom and right
        height, width = frame.input_hw
        return functional.pad(pixels, (0, frame.input_px - width, 0, frame.input_px - height))

    def normalise(self, pixels: Tensor, window: UInt8Array) -> Tensor:
        """Normalise the resized pixels (3, h, w), 0..255, of a window (H, W, 3), before they are padded with 0."""
        return (pixels - self.pixel_mean) / self.pixel_std

    @abstractmethod
    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map a normalised batch (B, 3, S, S) to {map name: (B, C, 64, 64)}."""

    stored_as: torch.dtype | None = None
    """Data type of saved weights; None keeps the type used in training, so that the digest of a frozen encoder and
    the key of its cached features do not change."""

    def name_in_file(self, name: str) -> str:
        """Map the name of a tensor in the whole model ("image_encoder.neck.0.weight") to its name in weights files."""
        return name


@dataclass(frozen=True, slots=True)
class EncoderParts:
    """An encoder and, if it has them, SAM's prompt encoder and mask decoder, and the layer for text prompts."""

    encoder: Encoder
    prompt_encoder: PromptEncoder | None = None
    mask_decoder: MaskDecoder | None = None
    text_projection: TextProjection | None = None
    """Layer for text prompts, if the weights were trained with them."""

    def modules(self) -> nn.ModuleDict:
        """Return the parts that exist, named by their prefixes in weights files."""
        parts = {
            "image_encoder": self.encoder,
            "prompt_encoder": self.prompt_encoder,
            "mask_decoder": self.mask_decoder,
            "text_projection": self.text_projection,
        }
        return nn.ModuleDict({prefix: module for prefix, module in parts.items() if module is not None})

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights of all parts under their names in weights files."""
        return {self.encoder.name_in_file(key): value for key, value in self.modules().state_dict().items()}


Builder = Callable[[Path | None], EncoderParts]
"""Function that builds an encoder from a weights file; None means the official or shipped file."""

Fetcher = Callable[[Path | None], Job[Path]]
"""Function that finds or downloads the weights file; its argument is a file or folder given by the user, or None."""


@dataclass(frozen=True, slots=True)
class EncoderEntry:
    """Registry entry of an encoder."""

    info: EncoderInfo
    build: Builder
    fetch: Fetcher | None = None
    """Function that finds or downloads the weights file; None if the weights are shipped with the package."""
    file: str = ""
    """Name of the weights file in the folder of downloaded weights; empty if it is shipped or supplied by the user."""
    find_in_hub_cache: Callable[[], Path | None] | None = None
    """Function that finds the file in the Hugging Face Hub's cache; None if the weights are not on the Hub."""

    def is_downloaded(self) -> bool:
        """Return True if the weights file is in the folder of downloaded weights or in the Hub's cache."""
        if self.file and (load_config().weights_dir / self.file).is_file():
            return True
        return self.find_in_hub_cache is not None and self.find_in_hub_cache() is not None


registry: Registry[EncoderEntry] = Registry("encoder")


def list_encoders(pattern: str = "*") -> list[str]:
    """List the names of the encoders that match a shell wildcard."""
    return registry.names(pattern)


def resize_longest_side(window: UInt8Array, frame: Frame) -> UInt8Array:
    """Resize (H, W, 3) uint8 to `frame.input_hw` with PIL's antialiased bilinear filter, as SAM's predictor does."""
    height, width = frame.input_hw
    return np.array(Image.fromarray(window).resize((width, height), Image.Resampling.BILINEAR))


def upload(pixels: UInt8Array, device: torch.device) -> Tensor:
    """Move an array to a device; to a CUDA device asynchronously, through pinned memory."""
    tensor = torch.from_numpy(pixels)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
