"""The Folder dock and its parts."""
