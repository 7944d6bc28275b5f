"""The main job on a real image, done by simulated mouse and key events."""
