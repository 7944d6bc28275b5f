"""Export of projects as training datasets of other programs, and of folders of images."""

from .dataset_export import export_dataset_job, saved_settings
from .folder_export import FolderExport, export_folder_job
from .result import DatasetExport

__all__ = ["DatasetExport", "FolderExport", "export_dataset_job", "export_folder_job", "saved_settings"]
