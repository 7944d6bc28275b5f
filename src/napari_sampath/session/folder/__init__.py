"""Work on several images: the queue of a folder, its batch segmentation, and training samples."""
