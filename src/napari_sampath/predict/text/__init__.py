"""Classify objects by texts that describe the classes."""
