"""The Export dock and its parts."""
