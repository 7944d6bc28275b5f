"""Segmentation of whole slides, block by block."""

from .objects_job import slide_objects_job
from .slide_plan import SlidePlan
from .slide_run import SlideRun, block_job, plan_job, slide_run_job

__all__ = ["SlidePlan", "SlideRun", "block_job", "plan_job", "slide_objects_job", "slide_run_job"]
