"""Find the objects of an image that look like exemplars, using cached features."""
