"""What the docks of one viewer share: state, mouse, keys, jobs and preview."""
