"""Training and evaluation of heads on cached encoder features, and of promptable models with SAM's algorithm."""

from .data.dataset import IGNORED, Dataset, Sample
from .data.join import join_datasets
from .data.readers import open_dataset
from .evaluation.evaluate import evaluate, evaluate_job
from .evaluation.report import format_report
from .heads.config import TrainingConfig
from .heads.presets import PRESETS, preset
from .heads.train import train, train_job
from .heads.trainer import TrainingProgress

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
