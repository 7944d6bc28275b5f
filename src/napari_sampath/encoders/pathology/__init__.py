"""Vision transformers for pathology, beside SAM's encoder."""
