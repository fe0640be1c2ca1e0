"""The gaze nodes."""
