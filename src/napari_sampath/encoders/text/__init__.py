"""Models that compare images with texts, through open_clip (extra `text`)."""
