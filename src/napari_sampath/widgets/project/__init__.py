"""The Project dock and its parts."""
