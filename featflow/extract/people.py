"""Rules that judge a face by whom it is like, and galleries made from reference photos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.sniff import looks_like_media
from featflow.errors import MissingInputError, OptionError
from featflow.extract.rules import Rule
from featflow.identity.filters import check_apart
from featflow.identity.reference import ReferenceGallery, Several, enroll, names_from_paths
from featflow.identity.vectors import ROUNDING, check_threshold, nearest, unit_rows

if TYPE_CHECKING:
    from featflow.detector import Detector
    from featflow.flow.batch import Batch

Floats = NDArray[np.floating[Any]]

_CANNOT_COMPARE = "no identity vector to compare"


def people_rules(
    wanted: ReferenceGallery | None, unwanted: ReferenceGallery | None, threshold: float
) -> list[Rule]:
    """Rules that keep the people wanted and mark those not wanted.

    A face is kept if its cosine similarity reaches the threshold with any reference of
    ``wanted`` and with none of ``unwanted``; equality reaches it. A face without a usable vector is
    marked where people are wanted, and kept otherwise.

    Args:
        wanted, unwanted: people, or None for no such rule.
        threshold: cosine similarity, -1..1.

    Raises:
        OptionError: the threshold is out of range, or one picture stands in both galleries.
    """
    check_threshold(threshold)
    if wanted is not None and unwanted is not None:
        check_apart(wanted, unwanted)
    reached = threshold - ROUNDING
    rules = []
    if wanted is not None:
        title = "likeness to the people wanted"
        rules.append(_rule("wanted_score", title, wanted, low=reached, unknown=_CANNOT_COMPARE))
    if unwanted is not None:
        title = "likeness to people not wanted"
        below = float(np.nextafter(reached, -np.inf))
        rules.append(_rule("unwanted_score", title, unwanted, high=below))
    return rules


def gallery_of(
    detector: Detector, folder: str | Path, several: Several = "skip"
) -> ReferenceGallery:
    """People from a folder of photos, found and described by a detector.

    A photo with no face gives no reference and is named in the gallery's ``skipped``. Names come
    from the paths, see :func:`featflow.identity.reference.names_from_paths`.

    Args:
        detector: has an identity node.
        folder: photos of one person each, or a folder of photos for each person.
        several: a photo with several faces is left out (``"skip"``) or gives all of them
            (``"all"``, which is what one wants of people to leave out).

    Raises:
        OptionError: the detector has no identity node, or no photo gave a reference.
        MissingInputError: there is no photo.
    """
    if "identity" not in detector.nodes:
        raise OptionError("people are told apart by an identity node; the detector has none")
    root = Path(folder)
    found = sorted(str(path) for path in [*root.glob("*"), *root.glob("*/*")] if path.is_file())
    files = [path for path in found if looks_like_media(path)]
    if not files:
        raise MissingInputError(str(root), "holds no photo", "expected Ada/1.jpg or Ada_01.jpg")
    table = detector.detect(files, progress_bar=False, on_error="row")
    photos = table["input"].astype(str)
    return enroll(table, names_from_paths(photos.unique(), folder), several)


def _rule(
    field: str, title: str, gallery: ReferenceGallery, unknown: str = "", **limits: float
) -> Rule:
    return Rule(field, title, ("embedding",), _likeness(gallery), unknown=unknown, **limits)


def _likeness(gallery: ReferenceGallery) -> Callable[[Batch], Floats]:
    def measure(batch: Batch) -> Floats:
        unit, usable = unit_rows(batch.faces.fields["embedding"])
        cosine = np.full(len(usable), np.nan)
        cosine[usable] = nearest(unit, gallery.vectors)[1]
        return cosine

    return measure
