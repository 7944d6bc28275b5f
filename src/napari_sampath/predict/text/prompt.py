"""Texts as prompts, for weights that `sampath tune --prompt clip` trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...arrays import FloatArray
from ...errors import PromptError

if TYPE_CHECKING:
    from ...encoders.text.text_model import TextModel
    from ...encoders.text_projection import TextProjection
    from ..model import Model


def text_prompt(text: str, model: Model, text_model: TextModel) -> FloatArray:
    """Convert a text to a prompt for `Model.predict`.

    As in Segment Anything (Kirillov et al. 2023, arXiv:2304.02643, section 7.5 and appendix D.5), the embedding of the
    text replaces the embedding of a crop that the prompt decoder was trained with.

    Args:
        text: A few words that describe the object, such as "a gland"; no template is added.
        model: Model with weights that `sampath tune --prompt clip` wrote.
        text_model: Model of `load_text_model`, the one that these weights were trained with.

    Returns:
        (256,) float32, the argument `text` of `Model.predict`.

    Raises:
        PromptError: If the text is empty, or the weights were not trained with text prompts.
        WeightsError: If the weights were trained with another text model.
    """
    projection = find_projection(model)
    if not text.strip():
        raise PromptError("The text is empty; describe the object in a few words, such as 'a gland'.")
    projection.check(text_model.identity)
    with torch.inference_mode():
        embedding = torch.from_numpy(text_model.embed_texts([text])).to(projection.weight.device)
        token: FloatArray = projection(embedding)[0].cpu().numpy()
    return token


def find_projection(model: Model) -> TextProjection:
    """Return the layer for text prompts of a model.

    Raises:
        PromptError: If the weights were not trained with text prompts.
    """
    if model.text_projection is None:
        raise PromptError(
            f"The weights of '{model.name}' were not trained with text prompts; train them with 'sampath tune --prompt "
            "clip', or prompt with points, a box or a mask."
        )
    return model.text_projection
