"""The action unit nodes."""
