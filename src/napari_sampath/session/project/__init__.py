"""Projects: a named folder of images with one class list, a training set, splits, heads and notes."""
