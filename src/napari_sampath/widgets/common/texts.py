"""Format text for messages to the user."""


def plural(count: int, noun: str) -> str:
    """Format a count with its noun: "1 object", "2 objects"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
