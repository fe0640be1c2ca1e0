"""The table: one row a face, with units, provenance and lossless storage."""
