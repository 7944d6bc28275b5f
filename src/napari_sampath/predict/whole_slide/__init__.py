"""Segmentation of whole slides, block by block."""

from .block_stream import BlockStream
from .heap import return_freed_arrays
from .objects_job import slide_objects_job
from .slide_plan import SlidePlan
from .slide_run import SlideRun, plan_job, slide_run_job

__all__ = [
    "BlockStream",
    "SlidePlan",
    "SlideRun",
    "plan_job",
    "return_freed_arrays",
    "slide_objects_job",
    "slide_run_job",
]
