"""Pending prompts, the tiles they need, and their answers."""
