"""SAM's prompt decoder: features and prompts to masks."""
