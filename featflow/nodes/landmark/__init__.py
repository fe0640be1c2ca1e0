"""The landmark nodes."""
