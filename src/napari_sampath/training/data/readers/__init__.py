"""Readers of dataset folders in various layouts."""

from .opening import open_dataset

__all__ = ["open_dataset"]
