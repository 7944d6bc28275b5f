"""Numerical agreement with the reference implementations."""
