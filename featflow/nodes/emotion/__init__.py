"""The emotion nodes."""
