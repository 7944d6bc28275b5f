"""Benchmarks of speed and memory, compared with `segment_anything`; `python -m benchmarks` runs all of them."""
