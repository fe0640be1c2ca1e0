"""Verification with an identity node on the labelled faces, from the detector's own boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.labelled import LabelledFaces
from featflow.detector import Detector
from featflow.errors import OptionError
from featflow.evaluation.pairs import Rows, draw_pairs
from featflow.evaluation.shared_faces import Figures, Floats, _by_input, _matching_row
from featflow.evaluation.slices import fairness_slices
from featflow.evaluation.verification import Roc, pair_similarity, verify

MOST_PAIRS = 10
"""Pairs of one person at most, so that those with many photographs do not decide alone."""

DRAWS = 10
"""Times that pairs are drawn; one draw alone moves the area under the curve by 0.005."""

LEAST_PAIRS = 100
"""Pairs of one person that a slice needs, for its figures to mean something."""

FALSE_ACCEPT = 0.01


def verification_on_val(detector: Detector, root: Path) -> dict[str, Figures]:
    """Same person or not, on people that no node was trained on.

    Half of the pairs are of one person, at most ten each; ``all pairs`` takes every pair of one
    person. A photograph whose face is missed, or whose face has no embedding, is in no pair and
    counted. Both photographs of a pair lie in the slice that it counts for.

    Raises:
        OptionError: the detector has no identity node.
    """
    if "identity" not in detector.nodes:
        raise OptionError("the detector has no node in its identity slot")
    faces = LabelledFaces.open(root, "val")
    vectors = embeddings(detector, faces)
    names = faces.table["identity"].fill_null("").to_numpy()
    found = {"all": verification(names, vectors), "all pairs": verification(names, vectors, None)}
    for name, chosen in fairness_slices(faces).items():
        within = np.where(chosen, names, "")
        if pairs_of_one_person(within, vectors) >= LEAST_PAIRS:
            found[name] = verification(within, vectors)
    return found


def embeddings(detector: Detector, faces: LabelledFaces) -> NDArray[np.float32]:
    """Embeddings (N, D) of the labelled faces; NaN where the detector missed one."""
    paths = [str(faces.root / "images" / file) for file in faces.table["file"]]
    rows = _by_input(detector.detect(paths, progress_bar=False))
    matches = [_matching_row(rows[p], box) for p, box in zip(paths, faces.boxes, strict=True)]
    found = [None if m is None else m.identity_embeddings.to_numpy(np.float32)[0] for m in matches]
    width = next((len(v) for v in found if v is not None), 1)
    nothing = np.full(width, np.nan, np.float32)
    return np.stack([nothing if v is None else v for v in found])


def pairs_of_one_person(names: NDArray[np.str_], vectors: Floats) -> int:
    """How many pairs :func:`verification` would have."""
    usable = names[np.isfinite(vectors).all(1) & (names != "")]
    counts = np.unique(usable, return_counts=True)[1]
    return int(np.minimum(counts * (counts - 1) // 2, MOST_PAIRS).sum())


def verification(
    names: NDArray[np.str_], vectors: Floats, most: int | None = MOST_PAIRS
) -> Figures:
    """Figures of pairs.

    Args:
        names: (N,) who is on each photograph; an empty name is nobody.
        vectors: (N, D) embeddings, NaN where there is none.
        most: pairs of one person at most.

    Returns:
        Photographs and how many have no embedding; pairs of one person (as many are of two);
        means over ten draws of the pairs: area under the curve, ten-fold accuracy, part of the
        true pairs that is accepted where 1 % of the false ones are, and the cosine that does so.
    """
    usable = np.isfinite(vectors).all(1)
    within = np.where(usable, names, "")
    drawn = [_of_pairs(vectors, *draw_pairs(within, most, seed)) for seed in range(DRAWS)]
    return {
        "faces": float((names != "").sum()),
        "missed": float((~usable & (names != "")).sum()),
        **{key: float(np.mean([figures[key] for figures in drawn])) for key in drawn[0]},
    }


def _of_pairs(vectors: Floats, one: Rows, two: Rows, same: NDArray[np.bool_]) -> Figures:
    scores = pair_similarity(vectors[one], vectors[two])
    found = verify(scores, same)
    return {
        "pairs": float(same.sum()),
        "auc": found.auc,
        "accuracy": found.accuracy,
        "accuracy_std": found.accuracy_std,
        "true_accept_at_1_percent": Roc.of(scores, same).true_accept_at(FALSE_ACCEPT),
        "cosine_at_1_percent": float(np.quantile(scores[~same], 1 - FALSE_ACCEPT)),
    }
