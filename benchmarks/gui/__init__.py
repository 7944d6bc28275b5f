"""Latency of annotating, from mouse and key events to painted pixels in a real viewer."""
