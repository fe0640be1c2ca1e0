import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.evaluation.detection import Hits, match_detections


def overlap(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union


def brute_force(detected, labelled, certain, threshold):
    """Each detection in turn takes the certain face, not yet taken, that it covers most."""
    taken, hits, false = set(), 0, 0
    for box in detected:
        best, best_overlap = None, threshold
        for index, face in enumerate(labelled):
            value = overlap(box, face)
            free = certain[index] and index not in taken
            if free and value >= best_overlap and (best is None or value > best_overlap):
                best, best_overlap = index, value
        if best is not None:
            taken.add(best)
            hits += 1
            continue
        doubtful = [overlap(box, f) for f, sure in zip(labelled, certain, strict=True) if not sure]
        false += not any(value >= min(0.3, threshold) for value in doubtful)
    return Hits(hits, sum(certain) - hits, false)


boxes = st.lists(
    st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(3, 9)] * 2).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
    ),
    max_size=6,
)


@given(boxes, st.lists(st.booleans(), min_size=6, max_size=6), boxes, st.sampled_from([0.2, 0.5]))
@settings(max_examples=200, deadline=None)
def test_counts_are_those_of_plain_loops(labelled, certain, detected, threshold):
    certain = certain[: len(labelled)]
    found = match_detections(
        np.array(detected, float).reshape(-1, 4),
        np.array(labelled, float).reshape(-1, 4),
        np.array(certain, bool),
        threshold,
    )
    assert found == brute_force(detected, labelled, certain, threshold)


FACE = [0.0, 0, 10, 10]
FAR = [50.0, 50, 60, 60]


def match(detected, labelled, certain=None, threshold=0.5):
    certain = None if certain is None else np.array(certain)
    boxes = (np.array(b, float).reshape(-1, 4) for b in (detected, labelled))
    return match_detections(*boxes, certain, threshold)


def test_every_kind_of_answer():
    assert match([FACE], [FACE]) == Hits(1, 0, 0)
    assert match([FACE, FACE], [FACE]) == Hits(1, 0, 1)
    assert match([FAR], [FACE]) == Hits(0, 1, 1)
    assert match([], [FACE, FAR]) == Hits(0, 2, 0)
    assert match([FACE], []) == Hits(0, 0, 1)
    assert match([], []) == Hits(0, 0, 0)
    assert match([FACE], [FACE], [False]) == Hits(0, 0, 0)
    assert match([], [FACE], [False]) == Hits(0, 0, 0)
    assert match([FAR], [FACE], [False]) == Hits(0, 0, 1)


def test_the_threshold_itself_is_a_match():
    assert match([[0, 0, 10, 5]], [FACE]) == Hits(1, 0, 0)
    assert match([[0, 0, 10, 4.99]], [FACE]) == Hits(0, 1, 1)


def test_labels_are_not_changed():
    certain = np.ones(1, bool)
    match_detections(np.array([FACE]), np.array([FACE]), certain)
    assert certain.all()
