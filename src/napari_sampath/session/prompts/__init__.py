"""Prompts, the tiles they need and their answers."""
