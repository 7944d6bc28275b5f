"""Embeddings of crops as first prompts, so that a text can prompt the trained decoder.

As in Segment Anything (Kirillov et al. 2023, arXiv:2304.02643, appendix D.5), the prompt of an object is the embedding
of its crop by the image encoder of a frozen text model; simulated points correct the mask afterwards. There are three
differences: each object is embedded only once, a linear layer converts the embeddings to tokens, and the attention in
the image encoder is not masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from scipy.ndimage import find_objects
from torch import Tensor

from ...arrays import FloatArray, LocalMask, UInt8Array
from ...encoders.text_projection import TextProjection
from ...predict.text.crops import crop_object
from ...predict.text.settings import TextSettings
from ..data.instances import InstanceImage

if TYPE_CHECKING:
    from ...encoders.text.text_model import TextModel

ImageObject: TypeAlias = tuple[InstanceImage, int]
"""A training image and the id of one of its objects."""

MAX_MARGIN = 1.0
"""Largest context around an object, as a multiple of its longer side: crops are one to two times as large as it."""
MASKED_SHARE = 0.5
"""Fraction of the objects whose surroundings are grey, which is about 0 after normalisation."""


class CropEmbeddings:
    """Embeddings of the crops of objects, computed when they are first needed.

    Args:
        text_model: The frozen text model.
        seed: Seed of the random margins and masks.
    """

    def __init__(self, text_model: TextModel, seed: int) -> None:
        self._text_model = text_model
        self._rng = np.random.default_rng(seed)
        self._cached: dict[ImageObject, FloatArray] = {}
        self._boxes: dict[InstanceImage, list[tuple[slice, slice]]] = {}

    def embed(self, objects: Sequence[ImageObject]) -> FloatArray:
        """Return the embeddings of N objects as (N, D) float32 unit vectors."""
        new = [key for key in dict.fromkeys(objects) if key not in self._cached]
        if new:
            # At full precision, as for texts, even if the steps of training are not.
            with torch.autocast(self._text_model.device.type, enabled=False):
                embeddings = self._text_model.embed_images([self._crop(*key) for key in new])
            self._cached.update(zip(new, embeddings, strict=True))
        return np.stack([self._cached[key] for key in objects])

    def _crop(self, image: InstanceImage, number: int) -> UInt8Array:
        masked = self._rng.random() < MASKED_SHARE
        margin = float(self._rng.uniform(0, MAX_MARGIN))
        if image not in self._boxes:
            self._boxes[image] = find_objects(image.instances)
        box = self._boxes[image][number - 1]
        mask = LocalMask(box[0].start, box[1].start, image.instances[box] == number)
        return crop_object(image.pixels, mask, TextSettings(margin, outside="grey" if masked else "keep"))


@dataclass(frozen=True, slots=True, eq=False)
class ClipPrompts:
    """What makes prompts of crops: the frozen text model, and the layer that is trained."""

    crops: CropEmbeddings
    projection: TextProjection

    def tokens(self, embeddings: FloatArray) -> Tensor:
        """Convert embeddings (N, D) of crops to tokens (N, 1, 256)."""
        values = torch.as_tensor(embeddings, dtype=torch.float32, device=self.projection.weight.device)
        tokens: Tensor = self.projection(values)[:, None]
        return tokens
