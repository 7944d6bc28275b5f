"""Layer that converts embeddings of a text model to prompts of a mask decoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..arrays import TOKEN_CHANNELS
from ..errors import WeightsError


@dataclass(frozen=True, slots=True)
class TextModelId:
    """Identity of a text model, which is stored with weights that were trained with it."""

    name: str
    """Name or folder from which the text model was loaded."""
    width: int
    """Length D of its embeddings."""
    fingerprint: str
    """Digest of its weights."""


class TextProjection(nn.Linear):
    """Linear layer that converts embeddings (N, D) of a text model to tokens (N, 256) of SAM's mask decoder.

    The text model embeds images and texts in one space. The layer is trained with embeddings of crops and then converts
    embeddings of texts (Kirillov et al. 2023, arXiv:2304.02643, section 7.5 and appendix D.5).

    Args:
        text_model: The text model.
        channels: Length of a token.
    """

    def __init__(self, text_model: TextModelId, channels: int = TOKEN_CHANNELS) -> None:
        super().__init__(text_model.width, channels)
        self.text_model = text_model
        # Embeddings are unit vectors, so tokens have a variance of 1, like SAM's untrained embeddings of points.
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)

    def check(self, text_model: TextModelId) -> None:
        """Check that embeddings are from the text model that the layer was trained with.

        Raises:
            WeightsError: If they are from another text model, or from one with other weights.
        """
        own = self.text_model
        if text_model.fingerprint != own.fingerprint:
            raise WeightsError(
                f"The weights were trained with the text model '{own.name}' (fingerprint {own.fingerprint[:8]}), not "
                f"with '{text_model.name}' (fingerprint {text_model.fingerprint[:8]}); choose the former."
            )
