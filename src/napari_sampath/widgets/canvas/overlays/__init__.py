"""Lines and frames that are drawn over an image."""
