"""Find similar: the objects of an image that look like exemplars, from cached features."""
