"""Export of projects as training datasets of other programs."""

from .dataset_export import export_dataset_job, saved_settings
from .result import DatasetExport

__all__ = ["DatasetExport", "export_dataset_job", "saved_settings"]
