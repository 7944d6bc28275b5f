"""Proposals of models: objects from results, guessed classes, and uncertain regions."""
