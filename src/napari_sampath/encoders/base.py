"""The contract of every encoder, and the registry of encoders by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

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

SAM_MEAN = (123.675, 116.28, 103.53)
SAM_STD = (58.395, 57.12, 57.375)
"""SAM's normalisation (that of ImageNet, in 0..255), `segment_anything/build_sam.py`."""


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """Description of an encoder, available before its weights are loaded."""

    name: str
    summary: str
    """One line for menus and `sampath models`."""
    licence: str
    source_url: str
    """Page of the weights and their licence."""
    promptable: bool
    """True if SAM's prompt encoder and mask decoder come with it."""
    size_mb: float
    """Size of the weights file; 0 if unknown."""
    gated: bool = False
    """True if the weights are available on request only, to people who accept their terms."""


class Encoder(nn.Module, ABC):
    """A frozen network that maps one tile to feature maps (C, 64, 64).

    Args:
        info: Name, licence, origin.
        spec: The output maps.
        weights_digest: Hex digest that changes with any weight; part of the store's key.
        mean: Mean of each channel, RGB in 0..255.
        std: Standard deviation of each channel, RGB in 0..255.
        input_px: Side of the network's input if it is not that of the frame: patches of 14 px need 896 px for
            64 x 64 tokens. The frame of the features stays unchanged.
    """

    preprocessing_version = 1
    """Increase when preprocessing changes, so that cached features of the old version are not used."""

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
        """Return the frame of this encoder's features, which describes how the window is mapped to the input."""
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
        pixels = self.normalise(resized.permute(2, 0, 1).float(), window)
        # Pad at the bottom and right
        height, width = frame.input_hw
        return functional.pad(pixels, (0, frame.input_px - width, 0, frame.input_px - height))

    def normalise(self, pixels: Tensor, window: UInt8Array) -> Tensor:
        """Normalise resized pixels (3, h, w), 0..255, of a window (H, W, 3), before padding with 0."""
        return (pixels - self.pixel_mean) / self.pixel_std

    @abstractmethod
    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map a normalised batch (B, 3, S, S) to {map name: (B, C, 64, 64)}."""

    stored_as: torch.dtype | None = None
    """Type of the stored weights; None for the type they are trained in, so that the digest of a frozen encoder, and
    with it the key of cached features, stays the same."""

    def name_in_file(self, name: str) -> str:
        """Return the name in weights files of a tensor of the whole model ("image_encoder.neck.0.weight")."""
        return name


@dataclass(frozen=True, slots=True)
class EncoderParts:
    """An encoder and, if it has them, SAM's prompt encoder and mask decoder."""

    encoder: Encoder
    prompt_encoder: PromptEncoder | None = None
    mask_decoder: MaskDecoder | None = None

    def modules(self) -> nn.ModuleDict:
        """Return the available parts under SAM's prefixes."""
        parts = {
            "image_encoder": self.encoder,
            "prompt_encoder": self.prompt_encoder,
            "mask_decoder": self.mask_decoder,
        }
        return nn.ModuleDict({prefix: module for prefix, module in parts.items() if module is not None})

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights of all parts under their names in weights files."""
        return {self.encoder.name_in_file(key): value for key, value in self.modules().state_dict().items()}


Builder = Callable[[Path | None], EncoderParts]
"""Builds an encoder; the path is a weights file that the user named, None for the official or shipped one."""

Fetcher = Callable[[Path | None], Job[Path]]
"""Finds or downloads the weights file; the path is a file or folder that the user named."""


@dataclass(frozen=True, slots=True)
class EncoderEntry:
    """One entry of the registry."""

    info: EncoderInfo
    build: Builder
    fetch: Fetcher | None = None
    """None if the weights are shipped with the package."""
    file: str = ""
    """Name of the weights file in the folder of downloaded weights; empty if shipped, or the user's own."""
    find_in_hub_cache: Callable[[], Path | None] | None = None
    """Finds the file in the cache of the Hugging Face Hub, for weights that are published there."""

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
