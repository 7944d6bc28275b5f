"""Weights files: find, download, verify and read them."""
