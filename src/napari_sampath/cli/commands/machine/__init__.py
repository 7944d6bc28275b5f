"""Subcommands on this computer: what it can run, how fast it is, and what is stored on it."""
