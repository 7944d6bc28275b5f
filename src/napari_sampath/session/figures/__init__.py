"""Figures for publications: an image with outlines in class colours, a legend and a scale bar."""

from .figure import Figure, FigureSettings, make_figure
from .writing import write_figure

__all__ = ["Figure", "FigureSettings", "make_figure", "write_figure"]
