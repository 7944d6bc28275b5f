"""The training loop for heads."""
