"""Writing labels and scores into a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.fex.schema import DECISION, IDENTITY, IDENTITY_EMBEDDING
from featflow.fex.table import Fex

UNKNOWN = "Unknown"
"""Label of a face that is none of the people known."""


def place(values: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    """Values that belong to the rows ``order``, put back at those rows."""
    back = np.empty_like(values)
    back[order] = values
    return back


def set_labels(
    table: pd.DataFrame, labels: NDArray[np.object_], scores: NDArray[np.float32]
) -> Fex:
    """A copy of a table with ``Identity`` and ``IdentityScore`` at their place in the schema."""
    fex = Fex(table.copy())
    columns = {
        "Identity": pd.Series(pd.array(labels, dtype="str"), index=fex.index),
        "IdentityScore": pd.Series(scores.astype(np.float32), index=fex.index),
    }
    for name, values in columns.items():
        if name in fex.columns:
            fex[name] = values
        else:
            fex.insert(_place_of(fex, name), name, values)
    return fex


def _place_of(fex: pd.DataFrame, name: str) -> int:
    """Before the embedding; without one before what filters decided, or at the end."""
    behind = [*IDENTITY_EMBEDDING.present(fex.columns)[:1], *DECISION.names()]
    if name == IDENTITY.columns[0].name:
        behind = ["IdentityScore", *behind]
    places = [list(fex.columns).index(other) for other in behind if other in fex.columns]
    return min(places, default=len(fex.columns))
