"""The ``featflow`` command."""
