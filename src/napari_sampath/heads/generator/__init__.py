"""Networks of the prompt generator (Shaharabany et al. 2023)."""
