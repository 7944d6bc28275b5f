"""Layers and what is drawn in them."""
