"""featflow: faces in photos and video as tables, and back again.

``Detector`` makes a table of faces (a :class:`Fex`), ``read_fex`` opens one, ``annotate`` draws
one into pictures and clips, ``get_core`` plays one on a still. Names are imported on first use, so
that ``import featflow`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featflow.animate import get_core
    from featflow.detector import Detector
    from featflow.fex import Fex, read_fex, scan_fex
    from featflow.plot import annotate

__version__ = "0.1.0"

_HOME = {
    "Detector": "featflow.detector",
    "Fex": "featflow.fex",
    "read_fex": "featflow.fex",
    "scan_fex": "featflow.fex",
    "annotate": "featflow.plot",
    "get_core": "featflow.animate",
}

__all__ = ["Detector", "Fex", "__version__", "annotate", "get_core", "read_fex", "scan_fex"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
