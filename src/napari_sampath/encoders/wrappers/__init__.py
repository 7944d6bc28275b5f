"""Encoders that combine or change other encoders."""
