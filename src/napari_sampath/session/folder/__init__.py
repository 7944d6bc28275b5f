"""A folder of images: its queue and batch segmentation."""
