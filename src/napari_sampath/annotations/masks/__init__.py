"""Masks of objects and the maps they are kept in."""
