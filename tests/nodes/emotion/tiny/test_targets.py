import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from featflow.fex.schema import EMOTIONS
from featflow.nodes.emotion.tiny.targets import (
    TRUST_IN_LABEL,
    UNLABELLED_WEIGHT,
    class_shares,
    photo_targets,
    vote_targets,
)

HAPPY, NEUTRAL = EMOTIONS.index("happiness"), EMOTIONS.index("neutral")


def test_votes_for_contempt_are_left_out_and_the_picture_counts_less():
    votes = np.zeros((3, 10), int)
    votes[0, HAPPY], votes[0, NEUTRAL] = 6, 2
    votes[0, 7] = 2  # contempt
    votes[1, 7] = 10
    votes[2, NEUTRAL] = 5  # only five people voted
    targets, weights = vote_targets(votes)
    assert targets[0, [HAPPY, NEUTRAL]].tolist() == [0.75, 0.25]
    assert targets[1].tolist() == [0.0] * 7
    assert targets[2, NEUTRAL] == 1.0
    assert weights.tolist() == [0.8, 0.0, 1.0]


@given(arrays(np.int64, (6, 10), elements=st.integers(0, 10)))
def test_vote_targets_are_probabilities_wherever_they_count(votes):
    targets, weights = vote_targets(votes)
    assert np.allclose(targets.sum(1), weights > 0)
    assert ((weights >= 0) & (weights <= 1)).all()
    assert (weights[votes[:, :7].sum(1) == 0] == 0).all()


def test_a_photograph_is_its_label_mixed_with_both_teachers():
    labels = np.array([HAPPY, NEUTRAL, NEUTRAL, -1])
    rng = np.random.default_rng(1)
    plain, stacked = rng.dirichlet(np.ones(7), (2, 4))
    targets, weights = photo_targets(labels, plain, stacked)
    shares = np.array([1, 1, 1, 2, 1, 1, 3]) / 10  # one more than they are
    for row in range(4):
        moved = [p * q for p, q in zip(stacked[row], shares, strict=True)]
        teacher = [(a + b / sum(moved)) / 2 for a, b in zip(plain[row], moved, strict=True)]
        label = [float(i == labels[row]) for i in range(7)]
        expected = [
            TRUST_IN_LABEL * y + (1 - TRUST_IN_LABEL) * t
            for y, t in zip(label, teacher, strict=True)
        ]
        assert targets[row] == pytest.approx(teacher if row == 3 else expected)
    assert weights.tolist() == [1, 1, 1, UNLABELLED_WEIGHT]


def test_shares_leave_unlabelled_rows_out_and_no_class_empty():
    shares = class_shares(np.array([HAPPY, HAPPY, -1, NEUTRAL]))
    assert shares == pytest.approx(np.array([1, 1, 1, 3, 1, 1, 2]) / 10)
