"""Annotation of one image or a folder of images, independent of the user interface."""

from __future__ import annotations

from ..config import sessions_folder
from .change import Change
from .folder.batch import FolderRun, automatic_job
from .folder.queue import Entry, FolderQueue, State
from .folder.training_samples import TrainingSamples, first_classes, remember_dataset, remembered_dataset
from .journals import has_annotations, journal_path
from .objects.object_rows import Column, ObjectRow, sort_rows
from .objects.overlap import MaskMode, Overlap, OverlapRule, name_overlap
from .project.project import Project
from .prompts.answerer import Answer, PromptRequest
from .prompts.candidate import Candidate
from .prompts.prompt_state import PromptState
from .proposals.classifying import Guess
from .proposals.new_objects import NewObjects, Segmentation, from_segmentation
from .proposals.proposals import Stage
from .proposals.result_filter import ResultFilter
from .proposals.uncertain import Reason, UncertainRegion, uncertain_regions
from .session import Session

__all__ = [
    "Answer",
    "Candidate",
    "Change",
    "Column",
    "Entry",
    "FolderQueue",
    "FolderRun",
    "Guess",
    "MaskMode",
    "NewObjects",
    "ObjectRow",
    "Overlap",
    "OverlapRule",
    "Project",
    "PromptRequest",
    "PromptState",
    "Reason",
    "ResultFilter",
    "Segmentation",
    "Session",
    "Stage",
    "State",
    "TrainingSamples",
    "UncertainRegion",
    "automatic_job",
    "first_classes",
    "from_segmentation",
    "has_annotations",
    "journal_path",
    "name_overlap",
    "remember_dataset",
    "remembered_dataset",
    "sessions_folder",
    "sort_rows",
    "uncertain_regions",
]
