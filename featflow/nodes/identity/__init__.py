"""The identity nodes."""
