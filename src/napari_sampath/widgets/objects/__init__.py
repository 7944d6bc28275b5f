"""The Objects dock."""
