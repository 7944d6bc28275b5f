"""Walk through the main workflow with simulated mouse and key events."""
