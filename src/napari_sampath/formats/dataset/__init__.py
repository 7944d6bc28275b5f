"""Dataset folders: reading and writing of images, label maps and metadata."""
