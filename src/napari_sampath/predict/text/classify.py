"""Classify objects by the similarity of their crops to texts (Radford et al. 2021, arXiv:2103.00020, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import BoolArray, FloatArray, LocalMask
from ...errors import PromptError
from ...jobs import Job, Progress, run
from ..model import as_pixels
from .crops import crop_object
from .settings import TextSettings

if TYPE_CHECKING:
    from ...encoders.text.text_model import TextModel

Prompts = Mapping[str, str | Sequence[str]]
"""Name of a class -> one or more texts that describe it."""


@dataclass(frozen=True, slots=True)
class TextMatch:
    """The class whose texts are most similar to an object."""

    name: str | None
    """Name of the class; None if a text for unwanted objects is more similar than those of all classes."""
    score: float
    """Probability of this class among all texts, 0..1; if there is only one class, the similarity, at least 0."""
    similarity: float
    """Cosine similarity of the object's crop and the texts of the class, -1..1."""


def classify_by_text(
    image: Any,
    objects: Sequence[BoolArray | LocalMask],
    prompts: Prompts,
    model: TextModel,
    rejected: Sequence[str] = (),
    settings: TextSettings | None = None,
) -> list[TextMatch]:
    """Classify the objects of an image by texts.

    Args:
        image: (H, W, 3) uint8 RGB; other arrays are converted like image files.
        objects: Masks (H, W) bool of the image, or local masks; none empty.
        prompts: Name of a class -> one or more texts that describe it.
        model: Model of `load_text_model`.
        rejected: Texts that describe unwanted objects.
        settings: Size of the crops, and templates of the texts.

    Returns:
        One match for each object, in the same order.

    Raises:
        ImageError: If the array is not an image.
        PromptError: If there is no text, or an object is empty or outside the image.
    """
    pixels = as_pixels(image)
    masks = [mask if isinstance(mask, LocalMask) else _local(mask, pixels.shape[:2]) for mask in objects]
    return run(classify_by_text_job(pixels, masks, prompts, model, rejected, settings))


def classify_by_text_job(
    pixels: Any,
    masks: Sequence[LocalMask],
    prompts: Prompts,
    model: TextModel,
    rejected: Sequence[str] = (),
    settings: TextSettings | None = None,
) -> Job[list[TextMatch]]:
    """Make a job that classifies objects by texts and can be cancelled between batches; see `classify_by_text`.

    Args:
        pixels: (H, W, 3) uint8 RGB, or an array-like that is read crop by crop.
        masks: The objects.
        prompts: As for `classify_by_text`.
        model: Model of `load_text_model`.
        rejected: As for `classify_by_text`.
        settings: As for `classify_by_text`.

    Raises:
        PromptError: If there is no text, or an object is empty or outside the image.
    """
    settings = settings or TextSettings()
    names, texts = _check_texts(prompts, rejected)
    _check_masks(masks, (int(pixels.shape[0]), int(pixels.shape[1])))
    yield Progress(0, len(masks), "Classifying by text", "objects")
    directions = _embed(texts, model, settings.templates)
    rows: list[FloatArray] = []
    for start in range(0, len(masks), settings.batch_size):
        batch = masks[start : start + settings.batch_size]
        crops = [crop_object(pixels, mask, settings) for mask in batch]
        rows.append(model.embed_images(crops) @ directions.T)
        yield Progress(start + len(batch), len(masks), "Classifying by text", "objects")
    return _matches(np.concatenate(rows), names, model.scale) if rows else []


def _embed(texts: Sequence[Sequence[str]], model: TextModel, templates: Sequence[str]) -> FloatArray:
    """Return one unit vector for each group of texts: the mean of the embeddings of all sentences."""
    means = []
    for group in texts:
        sentences = [template.replace("{}", text) for text in group for template in templates]
        means.append(model.embed_texts(sentences).mean(axis=0))
    directions = np.stack(means)
    unit: FloatArray = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    return unit


def _matches(similarities: FloatArray, names: Sequence[str | None], scale: float) -> list[TextMatch]:
    """Return the best text for each row of cosine similarities (N, T)."""
    logits = scale * similarities
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = weights / weights.sum(axis=1, keepdims=True)
    scores = shares if len(names) > 1 else np.clip(similarities, 0, 1)
    best = similarities.argmax(axis=1)
    return [
        TextMatch(names[column], float(scores[row, column]), float(similarities[row, column]))
        for row, column in enumerate(best)
    ]


def _check_texts(prompts: Prompts, rejected: Sequence[str]) -> tuple[list[str | None], list[tuple[str, ...]]]:
    """Return names and texts of the classes, followed by those of unwanted objects, whose name is None."""
    groups = {name: (texts,) if isinstance(texts, str) else tuple(texts) for name, texts in prompts.items()}
    if not groups:
        raise PromptError("There is no class to choose from; give at least one class with a text.")
    for name, texts in groups.items():
        if not name.strip() or not texts or not all(text.strip() for text in texts):
            raise PromptError(
                f"The class '{name}' has no text; describe it in a few words, such as 'a nucleus'."
            )
    if not all(text.strip() for text in rejected):
        raise PromptError(
            "A text for unwanted objects is empty; describe them in a few words, or leave it out."
        )
    return [*groups, *(None for _ in rejected)], [*groups.values(), *((text,) for text in rejected)]


def _check_masks(masks: Sequence[LocalMask], hw: tuple[int, int]) -> None:
    for number, mask in enumerate(masks, start=1):
        if not (0 <= mask.row < hw[0] and 0 <= mask.col < hw[1] and mask.bitmap.any()):
            raise PromptError(
                f"Object {number} has no pixels in the image of {hw[1]} x {hw[0]} px; leave it out."
            )


def _local(mask: BoolArray, hw: tuple[int, ...]) -> LocalMask:
    values = np.asarray(mask)
    if values.shape != tuple(hw):
        raise PromptError(
            f"An object's mask has shape {values.shape}, the image {tuple(hw)}; they must be equal."
        )
    return LocalMask(0, 0, values != 0)
