"""Pathology encoders, and timm models as encoders."""
