"""A network that embeds images and texts in one space, in which similar ones have similar directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...arrays import FloatArray, UInt8Array
from ..text_projection import TextModelId
from ..weights.weights import digest


class TextModel:
    """A contrastive image and text model of open_clip (Radford et al. 2021, arXiv:2103.00020).

    Args:
        name: Name for messages and for the records of objects.
        network: The model, in evaluation mode.
        preprocess: Function that converts a PIL image to a normalised tensor (3, S, S).
        tokenize: Function that converts N texts to tokens (N, L).
        device: Device to compute on.
    """

    def __init__(
        self,
        name: str,
        network: Any,
        preprocess: Callable[[Image.Image], Tensor],
        tokenize: Callable[[list[str]], Tensor],
        device: torch.device,
    ) -> None:
        self.name = name
        self.device = device
        self._network = network.eval().requires_grad_(False).to(device)
        self._preprocess, self._tokenize = preprocess, tokenize
        self.scale = float(network.logit_scale.exp())
        """Factor by which cosine similarities are multiplied before the softmax."""

    @cached_property
    def identity(self) -> TextModelId:
        """Name, width and fingerprint; the first access takes about a second for a large model."""
        # Buffers are left out: which of them a network has depends on the versions of its libraries.
        weights = dict(self._network.named_parameters())
        return TextModelId(self.name, self.embed_texts(["a"]).shape[1], digest(weights))

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Return the embeddings of N texts as (N, D) float32 unit vectors."""
        with torch.inference_mode():
            tokens = self._tokenize(list(texts)).to(self.device)
            return _to_numpy(self._network.encode_text(tokens, normalize=True))

    def embed_images(self, images: Sequence[UInt8Array]) -> FloatArray:
        """Return the embeddings of N images (H, W, 3) uint8 RGB, of any sizes, as (N, D) float32 unit vectors."""
        with torch.inference_mode():
            batch = torch.stack([self._preprocess(Image.fromarray(image)) for image in images])
            return _to_numpy(self._network.encode_image(batch.to(self.device), normalize=True))


def _to_numpy(embeddings: Tensor) -> FloatArray:
    values: FloatArray = embeddings.float().cpu().numpy().astype(np.float32)
    return values
