"""Training promptable models with simulated clicks."""
