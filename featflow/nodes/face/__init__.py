"""The face nodes."""
