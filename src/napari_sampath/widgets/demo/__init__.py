"""The demonstration: the docks on a real image, ready to click or clicked by themselves."""
