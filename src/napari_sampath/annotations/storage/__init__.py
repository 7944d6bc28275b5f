"""Undo and the journal: changes kept in memory and on disk."""
