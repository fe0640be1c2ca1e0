"""ROC against scikit-learn, ten folds and ranks against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from featflow.errors import OptionError
from featflow.evaluation.verification import Roc, best_threshold, pair_similarity, rank_k, verify

NAN = float("nan")


def pairs(count=400, gap=1.0, seed=0, digits=6):
    draw = np.random.default_rng(seed)
    same = draw.random(count) < 0.5
    return np.round(draw.standard_normal(count) + gap * same, digits), same


@pytest.mark.parametrize("digits", [6, 0])  # 0: many equal scores
@pytest.mark.parametrize("seed", range(3))
def test_roc_against_scikit_learn(seed, digits):
    scores, same = pairs(seed=seed, digits=digits)
    ours = Roc.of(scores, same)
    false, true, limits = metrics.roc_curve(same, scores, drop_intermediate=False)
    np.testing.assert_allclose(ours.false_accept, false)
    np.testing.assert_allclose(ours.true_accept, true)
    np.testing.assert_array_equal(ours.thresholds, limits)
    assert ours.auc == pytest.approx(metrics.roc_auc_score(same, scores))


@settings(deadline=None)
@given(st.integers(0, 500), st.floats(0, 1))
def test_true_accept_against_every_threshold(seed, allowed):
    scores, same = pairs(40, seed=seed, digits=1)
    best = 0.0
    for limit in [*scores, np.inf]:
        if (scores[~same] >= limit).mean() <= allowed:
            best = max(best, (scores[same] >= limit).mean())
    assert Roc.of(scores, same).true_accept_at(allowed) == pytest.approx(best)


def test_auc_falls_when_the_sign_flips():
    scores, same = pairs()
    assert Roc.of(scores, same).auc > 0.7
    assert Roc.of(-scores, same).auc == pytest.approx(1 - Roc.of(scores, same).auc)


def folds_by_brute_force(scores, same, fold):
    """The best threshold of the other folds by trying every gap between scores."""
    right = []
    for name in np.unique(fold):
        train = fold != name
        values = np.unique(scores[train])
        limits = [values[0] - 1, *((values[1:] + values[:-1]) / 2), values[-1] + 1]
        hits = [((scores[train] >= limit) == same[train]).mean() for limit in limits]
        best = limits[len(hits) - 1 - int(np.argmax(hits[::-1]))]
        right.append(((scores[~train] >= best) == same[~train]).mean())
    return right


@pytest.mark.parametrize("seed", range(4))
def test_ten_folds_against_brute_force(seed):
    scores, same = pairs(seed=seed, digits=2)
    fold = np.repeat(np.arange(10), 40)
    expected = folds_by_brute_force(scores, same, fold)
    for folds in (10, fold):
        ours = verify(scores, same, folds)
        assert ours.accuracy == pytest.approx(np.mean(expected))
        assert ours.accuracy_std == pytest.approx(np.std(expected))
    assert ours.auc == pytest.approx(metrics.roc_auc_score(same, scores))
    assert ours.pairs == 400
    assert len(ours.thresholds) == 10


def test_a_fold_is_not_judged_with_its_own_threshold():
    # Alone, each fold could be told apart without error; the other fold's threshold fails.
    scores = np.array([0.1, 0.2, 0.8, 0.9])
    same = np.array([False, True, False, True])
    assert verify(scores, same, np.array([0, 0, 1, 1])).accuracy == 0.5
    assert best_threshold(scores[:2], same[:2]) == pytest.approx(0.15)


def test_best_threshold_accepts_nobody_or_everybody_where_that_is_best():
    assert best_threshold(np.array([0.3, 0.4]), np.array([False, False])) > 0.4
    assert best_threshold(np.array([0.3, 0.4]), np.array([True, True])) < 0.3


def test_scores_are_checked():
    with pytest.raises(OptionError, match="1 of 2 scores are missing"):
        verify([0.1, NAN], np.array([True, False]))
    with pytest.raises(OptionError, match="pairs of different people"):
        Roc.of([0.1, 0.2], np.array([True, True]))
    with pytest.raises(OptionError, match="truth values"):
        Roc.of([0.1, 0.2], [1, 0])
    with pytest.raises(OptionError, match="two folds"):
        verify(*pairs(), 1)
    with pytest.raises(OptionError, match="0..1"):
        Roc.of(*pairs()).true_accept_at(1.5)


def test_pair_similarity_against_scikit_learn():
    a, b = np.random.default_rng(0).standard_normal((2, 30, 8))
    a[3], b[5, 2], b[3] = 0, NAN, NAN
    expected = 1 - metrics.pairwise.paired_cosine_distances(np.nan_to_num(a), np.nan_to_num(b))
    ours = pair_similarity(a, b)
    assert np.isnan(ours[[3, 5]]).all()
    rest = np.isfinite(ours)
    assert rest.sum() == 28
    np.testing.assert_allclose(ours[rest], expected[rest], atol=1e-6)


def planted(seed=0):
    draw = np.random.default_rng(seed)
    people = draw.standard_normal((30, 16))
    gallery_names, probe_names = np.repeat(np.arange(30), 2), draw.integers(0, 30, 90)
    gallery = people[gallery_names] + 1.2 * draw.standard_normal((60, 16))
    return (
        people[probe_names] + 1.2 * draw.standard_normal((90, 16)),
        probe_names,
        gallery,
        (gallery_names),
    )


def test_ranks_against_scikit_learn():
    probes, names, gallery, gallery_names = planted()
    cosine = metrics.pairwise.cosine_similarity(probes, gallery).reshape(90, 30, 2).max(2)
    ours = rank_k(probes, names, gallery, gallery_names)
    for k, part in ours.items():
        assert part == pytest.approx(
            metrics.top_k_accuracy_score(names, cosine, k=k, labels=np.arange(30))
        )
    assert ours[1] < ours[5] <= ours[20]
    shuffle = np.random.default_rng(1).permutation(60)
    assert rank_k(probes, names, gallery[shuffle], gallery_names[shuffle]) == ours


def test_embeddings_that_say_nothing_earn_nothing():
    same = np.ones((10, 4))
    assert rank_k(same, np.arange(10), same, np.arange(10), (1, 9, 10)) == {1: 0, 9: 0, 10: 1}


def test_a_probe_without_embedding_is_a_miss():
    probes = np.array([[1.0, 0], [NAN, 0]])
    assert rank_k(probes, ["a", "b"], np.eye(2), ["a", "b"], (1, 2)) == {1: 0.5, 2: 0.5}


def test_galleries_are_checked():
    with pytest.raises(OptionError, match="not in the gallery: z"):
        rank_k(np.eye(2), ["a", "z"], np.eye(2), ["a", "b"])
    with pytest.raises(OptionError, match="unusable"):
        rank_k(np.eye(2), ["a", "b"], [[1, 0], [0, 0]], ["a", "b"])
    with pytest.raises(OptionError, match="a name for each"):
        rank_k(np.eye(2), ["a"], np.eye(2), ["a", "b"])
