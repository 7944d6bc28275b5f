"""One panel with a tab for each dock."""
