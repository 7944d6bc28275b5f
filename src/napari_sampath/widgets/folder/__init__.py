"""The Folder dock."""
