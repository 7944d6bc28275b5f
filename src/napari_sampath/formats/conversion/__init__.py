"""From the shapes of a file to objects of an image: position, order of overlaps, and counts of what is left out."""
