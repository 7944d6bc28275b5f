"""The rules of annotating one image, and a folder of them, without a window."""

from __future__ import annotations

from .components import Components, Segmentation, from_segmentation
from .editor import journal_path
from .folder import Entry, FolderQueue, State
from .neighbours import Guess
from .object_rows import Column, ObjectRow, sort_rows
from .overlap import MaskMode, Overlap, OverlapRule, name_overlap
from .prompting import Answer, Candidate, PromptRequest, PromptState
from .samples import TrainingSamples, first_classes, remember_dataset, remembered_dataset
from .session import Session
from .stages import FolderRun, Stage, automatic_job
from .uncertain import Reason, UncertainRegion, uncertain_regions

__all__ = [
    "Answer",
    "Candidate",
    "Column",
    "Components",
    "Entry",
    "FolderQueue",
    "FolderRun",
    "Guess",
    "MaskMode",
    "ObjectRow",
    "Overlap",
    "OverlapRule",
    "PromptRequest",
    "PromptState",
    "Reason",
    "Segmentation",
    "Session",
    "Stage",
    "State",
    "TrainingSamples",
    "UncertainRegion",
    "automatic_job",
    "first_classes",
    "from_segmentation",
    "journal_path",
    "name_overlap",
    "remember_dataset",
    "remembered_dataset",
    "sort_rows",
    "uncertain_regions",
]
