"""Training of promptable models with simulated clicks."""
