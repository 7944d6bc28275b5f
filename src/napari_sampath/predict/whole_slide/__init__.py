"""Segmentation of whole slides, block by block."""

from .objects_job import slide_objects_job
from .slide_run import SlidePlan, SlideRun, plan_job, slide_run_job

__all__ = ["SlidePlan", "SlideRun", "plan_job", "slide_objects_job", "slide_run_job"]
