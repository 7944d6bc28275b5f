"""Background threads and workers."""
