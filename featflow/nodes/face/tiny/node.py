"""The ``face/tiny`` node."""

from featflow.flow.node import InputSpec

SPEC = InputSpec(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
