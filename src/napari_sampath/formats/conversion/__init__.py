"""Conversion of the shapes of a file to objects of an image, with counts of what is left out."""
