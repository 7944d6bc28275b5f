"""Programs that tests run in separate processes, some of which they kill."""
