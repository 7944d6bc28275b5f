"""The Train dock and its parts."""
