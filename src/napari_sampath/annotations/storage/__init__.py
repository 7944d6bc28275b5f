"""Undo history and journal."""
