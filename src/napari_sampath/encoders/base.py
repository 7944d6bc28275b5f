"""The contract of every encoder, and the catalogue of them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from ..arrays import FeatureSpec, UInt8Array
from ..config import load_config
from ..geometry import Frame
from ..jobs import Job
from ..registry import Registry

if TYPE_CHECKING:
    from segment_anything.modeling import MaskDecoder, PromptEncoder

    from .weights.hub import HubFile

SAM_MEAN = (123.675, 116.28, 103.53)
SAM_STD = (58.395, 57.12, 57.375)
"""Normalisation of SAM (ImageNet's, in 0..255), `segment_anything/build_sam.py`."""


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What is known of an encoder before its weights are loaded."""

    name: str
    summary: str
    """One line for menus and `sampath models`."""
    licence: str
    source_url: str
    """Where weights and licence come from."""
    promptable: bool
    """True if it brings SAM's prompt encoder and mask decoder."""
    size_mb: float
    """Size of the weights file; 0 if it is not known."""
    gated: bool = False
    """True if the weights are given out on request only, to people who accept their terms."""


class Encoder(nn.Module, ABC):
    """A frozen network: one tile -> maps of shape (C, 64, 64).

    Args:
        info: Name, licence, origin.
        spec: The maps it yields.
        weights_digest: Hex digest that changes when any weight does; part of the store's key.
        mean: Per channel, subtracted from RGB in 0..255.
        std: Per channel, divides after that.
        input_px: Side of the square that the network takes, if that is not the frame's: a patch of 14 px
            wants 896 px to yield 64 x 64 tokens. The frame that the features belong to stays as it is.
    """

    preprocessing_version = 1
    """Raise when the way from pixels to maps changes: cached features of the old way are then not found."""

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

    def fit(self, frame: Frame) -> Frame:
        """Return the frame that features of this encoder belong to: how it maps a window to its square."""
        return frame

    def preprocess(self, image: UInt8Array, frame: Frame) -> Tensor:
        """Cut a window, resize, normalise and pad it as SAM does.

        Args:
            image: (H, W, 3) uint8 RGB, the whole image.
            frame: The window.

        Returns:
            (3, S, S) float32 on this encoder's device, S = 1024 unless the encoder or the frame says otherwise.
        """
        if self.input_px is not None:
            frame = replace(frame, input_px=self.input_px)
        window = image[frame.slices]
        device = self.pixel_mean.device
        pixels = upload(resize_longest_side(window, frame), device).permute(2, 0, 1).float()
        pixels = self.normalise(pixels, window)
        height, width = frame.input_hw
        return functional.pad(pixels, (0, frame.input_px - width, 0, frame.input_px - height))

    def normalise(self, pixels: Tensor, window: UInt8Array) -> Tensor:
        """Normalise resized pixels (3, h, w), 0..255, of a window (H, W, 3); padding is 0 afterwards."""
        return (pixels - self.pixel_mean) / self.pixel_std

    @abstractmethod
    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map a normalised batch (B, 3, S, S) to {map name: (B, C, 64, 64)}."""

    stored_as: torch.dtype | None = None
    """Type of the numbers in files of this model's weights; None for the one they are trained in. Other models stay as
    they are: an encoder that was not trained must stay the one that cached features are of."""

    def name_in_file(self, name: str) -> str:
        """Turn the name of a tensor of a whole model ("image_encoder.neck.0.weight") into that in its files."""
        return name


@dataclass(frozen=True, slots=True)
class EncoderParts:
    """An encoder with SAM's interface and, if it has them, the parts that answer prompts."""

    encoder: Encoder
    prompt_encoder: PromptEncoder | None = None
    mask_decoder: MaskDecoder | None = None

    def modules(self) -> nn.ModuleDict:
        """Return the parts that there are, by SAM's prefixes."""
        parts = {
            "image_encoder": self.encoder,
            "prompt_encoder": self.prompt_encoder,
            "mask_decoder": self.mask_decoder,
        }
        return nn.ModuleDict({prefix: module for prefix, module in parts.items() if module is not None})

    def state_dict(self) -> dict[str, Tensor]:
        """Collect the weights of all parts by their names in a file that this model can be loaded from."""
        return {self.encoder.name_in_file(key): value for key, value in self.modules().state_dict().items()}


Builder = Callable[[Path | None], EncoderParts]
"""Builds an encoder; the path is a weights file the user named, None for the official or shipped one."""

Fetcher = Callable[[Path | None], Job[Path]]
"""Finds or downloads the file that a builder then reads; the path is a file or folder the user named."""


@dataclass(frozen=True, slots=True)
class EncoderEntry:
    """One line of the catalogue."""

    info: EncoderInfo
    build: Builder
    fetch: Fetcher | None = None
    """None where the weights are shipped with the package."""
    file: str = ""
    """Name of the weights file in the folder of downloaded weights; empty if shipped, or the user's own."""
    hub_file: HubFile | None = None
    """The file on the Hugging Face Hub, if the weights are there."""

    def is_downloaded(self) -> bool:
        """Return True if the weights file is in the folder of downloaded weights or in the Hub's cache."""
        if self.file and (load_config().weights_dir / self.file).is_file():
            return True
        return self.hub_file is not None and self.hub_file.cached() is not None


registry: Registry[EncoderEntry] = Registry("encoder")


def list_encoders(pattern: str = "*") -> list[str]:
    """List the names of the encoders that match a shell wildcard."""
    return registry.names(pattern)


def resize_longest_side(window: UInt8Array, frame: Frame) -> UInt8Array:
    """Resize (H, W, 3) uint8 to `frame.input_hw` with PIL's antialiased bilinear filter, as SAM's predictor does."""
    height, width = frame.input_hw
    return np.array(Image.fromarray(window).resize((width, height), Image.Resampling.BILINEAR))


def upload(pixels: UInt8Array, device: torch.device) -> Tensor:
    """Bring an array to a device; to a CUDA device without waiting for it, through memory locked for that."""
    tensor = torch.from_numpy(pixels)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
