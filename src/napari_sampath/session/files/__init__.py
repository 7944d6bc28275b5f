"""Saving, exporting and training samples of a session."""
