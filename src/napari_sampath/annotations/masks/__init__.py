"""Masks of objects, and the label maps that store them."""
