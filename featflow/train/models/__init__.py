"""Face models: one encoder for all identities, one decoder for each."""
