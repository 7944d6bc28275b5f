"""SAM, its variants, and the format of their checkpoints."""
