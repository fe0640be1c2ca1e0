"""``Marks``: a node that marks faces by rules and never drops one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.extract.rules import Rule
from featflow.flow.batch import Batch, FaceBatch
from featflow.flow.node import Node


class Marks(Node):
    """Judges every face by rules; a face must keep them all.

    Provides ``keep`` and ``filter_reason`` (what each rule that was broken says, in the order
    of the rules), and the number of every rule in a field of its own. The table writes them as
    ``Keep``, ``FilterReason`` and the columns of the group ``filter``. Later nodes see marked
    faces as any other.

    Args:
        rules: see :mod:`featflow.extract.rules`; a rule of your own needs no more than a
            function of a batch.

    Raises:
        OptionError: no rule, or two rules fill one field.
    """

    kind = "filter"
    name = "marks"
    unit = "face"
    batch_size = 64

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__()
        self.rules = tuple(rules)
        fields = [rule.field for rule in self.rules]
        twice = sorted(field for field, count in Counter(fields).items() if count > 1)
        if not fields or twice:
            raise OptionError(
                f"filter/marks: two rules fill {twice}" if twice else "filter/marks needs a rule"
            )
        self.requires = tuple(dict.fromkeys(n for rule in self.rules for n in rule.requires))
        self.provides = ("keep", "filter_reason", *fields)
        self.shapes = dict.fromkeys(fields, ())

    def usable(self, faces: FaceBatch) -> NDArray[np.bool_]:
        """Every face is judged; a number that cannot be had is NaN, and marks nothing."""
        return np.ones(len(faces), np.bool_)

    def pre_process(self, batch: Batch) -> list[NDArray[Any]]:
        """The number of every rule, each (N,) float64."""
        return [np.asarray(rule.measure(batch), np.float64) for rule in self.rules]

    def process(self, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """The numbers, unchanged."""
        return inputs

    def post_process(self, batch: Batch, outputs: list[NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """The marks, and the numbers behind them as float32."""
        told = [rule.reasons(values) for rule, values in zip(self.rules, outputs, strict=True)]
        reasons = np.full(len(batch.faces), "", object)
        reasons[:] = ["; ".join(filter(None, of_face)) for of_face in zip(*told, strict=True)]
        numbers = {
            rule.field: values.astype(np.float32)
            for rule, values in zip(self.rules, outputs, strict=True)
        }
        return {"keep": reasons == "", "filter_reason": reasons, **numbers}
