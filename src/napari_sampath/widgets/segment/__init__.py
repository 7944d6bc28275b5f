"""The Auto-segment dock and its parts."""
