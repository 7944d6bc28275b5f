"""Report of a project as one HTML file that needs no network."""

from .writing import report_job

__all__ = ["report_job"]
