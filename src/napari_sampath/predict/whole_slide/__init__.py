"""Segmentation of whole slides, block by block."""

from .slide_run import SlideRun, slide_run_job

__all__ = ["SlideRun", "slide_run_job"]
