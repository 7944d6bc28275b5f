"""Pending prompts, the tiles they need, and the masks predicted for them."""
