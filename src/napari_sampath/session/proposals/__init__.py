"""Proposals of heads, and their review."""
