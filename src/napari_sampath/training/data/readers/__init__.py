"""Folders that hold a dataset, in whatever layout they come."""

from .opening import open_dataset

__all__ = ["open_dataset"]
