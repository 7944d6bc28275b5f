"""Tools that change committed objects."""
