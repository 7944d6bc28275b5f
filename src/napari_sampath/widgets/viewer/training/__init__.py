"""The open project: membership of the image in use, saving of training samples, heads."""
