"""Encoders that combine other encoders or change their preprocessing."""
