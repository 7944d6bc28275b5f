"""Training and scoring: heads on features that are computed once, and promptable models by SAM's own algorithm."""

from .config import TrainingConfig
from .dataset import IGNORED, Dataset, Sample
from .evaluate import evaluate, evaluate_job
from .fit import TrainingProgress
from .joined import join_datasets
from .loop import train, train_job
from .presets import PRESETS, preset
from .readers import open_dataset
from .report import format_report

__all__ = [
    "IGNORED",
    "PRESETS",
    "Dataset",
    "Sample",
    "TrainingConfig",
    "TrainingProgress",
    "evaluate",
    "evaluate_job",
    "format_report",
    "join_datasets",
    "open_dataset",
    "preset",
    "train",
    "train_job",
]
