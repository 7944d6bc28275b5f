"""Show a session in napari layers and on the canvas."""
