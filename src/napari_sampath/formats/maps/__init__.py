"""Formats with label maps; `registry.py` finds every module that defines `FORMATS`."""
