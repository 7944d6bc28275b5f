"""Measurements of objects: shape, colour and stain, and densities of classes."""
