"""The head pose nodes."""
