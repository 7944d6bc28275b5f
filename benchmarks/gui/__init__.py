"""What annotating feels like: from mouse and key events to pixels on a real viewer."""
