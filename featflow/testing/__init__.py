"""Public helpers for testing nodes: conformance checks and rendered faces."""
