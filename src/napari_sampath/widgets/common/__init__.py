"""The base class of the docks and their shared controls."""
