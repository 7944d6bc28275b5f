"""SAM's image encoders and the formats of their checkpoints."""
