"""Rounds of retraining on corrections."""
