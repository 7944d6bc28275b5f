"""Comparison of an image with the training images of a head, to warn where the head does not belong."""
