"""The base class of the docks and the controls that they share."""
