"""Segment everything: masks from a grid of points."""
