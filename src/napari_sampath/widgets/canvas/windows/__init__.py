"""Windows of the label layers: the part of an image around the view, at the resolution of the view."""
