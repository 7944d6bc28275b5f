"""Formats with outlines or masks of single objects; `registry.py` finds every module that defines `FORMATS`."""
