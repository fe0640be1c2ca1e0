"""Options of extraction: wrappers of nodes that find and align faces, and marks on faces."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featflow.extract.boxes import read_boxes
    from featflow.extract.chips import Chip, export_faces, read_face, read_faces
    from featflow.extract.light import Normalised, normalise
    from featflow.extract.marks import Marks
    from featflow.extract.options import ExtractOptions
    from featflow.extract.people import gallery_of, people_rules
    from featflow.extract.realign import Realign
    from featflow.extract.refeed import Refeed
    from featflow.extract.rotate import RotationSearch, rotation_angles
    from featflow.extract.rules import (
        Rule,
        aligned_rules,
        distance_rule,
        order_rule,
        roll_rule,
        scale_rule,
        size_rule,
    )

_HOME = {
    "Chip": "chips",
    "ExtractOptions": "options",
    "Marks": "marks",
    "Normalised": "light",
    "Realign": "realign",
    "Refeed": "refeed",
    "RotationSearch": "rotate",
    "Rule": "rules",
    "aligned_rules": "rules",
    "distance_rule": "rules",
    "export_faces": "chips",
    "gallery_of": "people",
    "normalise": "light",
    "order_rule": "rules",
    "people_rules": "people",
    "read_boxes": "boxes",
    "read_face": "chips",
    "read_faces": "chips",
    "roll_rule": "rules",
    "rotation_angles": "rotate",
    "scale_rule": "rules",
    "size_rule": "rules",
}
__all__ = [
    "Chip",
    "ExtractOptions",
    "Marks",
    "Normalised",
    "Realign",
    "Refeed",
    "RotationSearch",
    "Rule",
    "aligned_rules",
    "distance_rule",
    "export_faces",
    "gallery_of",
    "normalise",
    "order_rule",
    "people_rules",
    "read_boxes",
    "read_face",
    "read_faces",
    "roll_rule",
    "rotation_angles",
    "scale_rule",
    "size_rule",
]


def __getattr__(name: str) -> Any:
    # Names are looked up when they are used, so that a rule does not cost an import of torch.
    if name in _HOME:
        return getattr(import_module(f"featflow.extract.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
