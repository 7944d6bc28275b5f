"""Import, export and training samples of a session."""
