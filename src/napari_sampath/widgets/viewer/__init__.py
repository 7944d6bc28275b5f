"""Code shared by the docks of a viewer: state, mouse and key input, jobs and preview."""
