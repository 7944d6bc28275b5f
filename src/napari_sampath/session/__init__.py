"""The rules of annotating one image, without a window."""

from __future__ import annotations

from .components import Components, Segmentation, from_segmentation
from .editor import journal_path
from .prompting import Answer, Candidate, PromptRequest, PromptState
from .session import Session

__all__ = [
    "Answer",
    "Candidate",
    "Components",
    "PromptRequest",
    "PromptState",
    "Segmentation",
    "Session",
    "from_segmentation",
    "journal_path",
]
