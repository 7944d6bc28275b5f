"""The Auto-segment dock."""
