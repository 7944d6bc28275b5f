"""What this package costs beside `segment_anything`, as ratios; `python -m benchmarks` runs everything."""
