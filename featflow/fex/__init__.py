"""The table of faces: schema, building, reading, writing, resuming."""

from featflow.fex.arrow import from_polars
from featflow.fex.build import empty_fex, fex_from_batches
from featflow.fex.io import read_fex, save_fex, scan_fex
from featflow.fex.meta import new_meta
from featflow.fex.table import Fex
from featflow.fex.writer import FexWriter

__all__ = [
    "Fex",
    "FexWriter",
    "empty_fex",
    "fex_from_batches",
    "from_polars",
    "new_meta",
    "read_fex",
    "save_fex",
    "scan_fex",
]
