"""Adaptation of the prompt decoder to the committed objects of a user, on cached embeddings."""
