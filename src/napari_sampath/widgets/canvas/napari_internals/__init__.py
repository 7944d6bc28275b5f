"""Every use of private members of napari and vispy."""
