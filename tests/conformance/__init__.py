"""Agreement with the reference implementations, number by number."""
