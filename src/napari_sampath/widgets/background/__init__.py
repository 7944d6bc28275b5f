"""Threads and workers."""
