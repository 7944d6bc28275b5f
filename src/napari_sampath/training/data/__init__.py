"""Datasets, their checks and augmentation."""
