"""The verbs of `sampath`, one module each."""
