"""Tools that act on single objects."""
