"""The dataset folder that the package writes and reads."""
