"""Base class and controls that docks share."""
