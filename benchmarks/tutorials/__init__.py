"""The tutorials of the documentation, followed step by step in a window, with pictures and animations."""
