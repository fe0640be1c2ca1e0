"""Labels and scores of tables and of embeddings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from featflow.errors import AbsentGroupError, OptionError
from featflow.identity import compute_identities
from featflow.identity.compute import METHODS, support
from featflow.identity.density import density_clusters
from featflow.identity.vectors import unit_rows

NAN = float("nan")


def codes(labels):
    return pd.factorize(pd.Series(labels).astype(str))[0]


@pytest.mark.parametrize("method", METHODS)
def test_planted_people_are_found_and_numbered_by_appearance(make, method):
    vectors, who = make.planted(240, 6, 64, 0.85)
    found = compute_identities(vectors, 0.5, method)
    assert adjusted_rand_score(who, codes(found.labels)) == 1
    seen = list(dict.fromkeys(found.labels))
    assert seen == [f"Person_{i + 1}" for i in range(6)]


@pytest.mark.parametrize("method", METHODS)
def test_one_person_is_one_person(make, method):
    vectors, _ = make.planted(60, 1, 64, 0.75)
    assert set(compute_identities(vectors, 0.5, method).labels) == {"Person_1"}


@pytest.mark.parametrize("method", METHODS)
def test_unusable_embeddings_have_no_label(make, method):
    vectors, _ = make.planted(30, 2, 64, 0.9)
    clean = compute_identities(vectors[2:], 0.5, method)
    vectors[0, 5], vectors[1] = np.inf, 0
    found = compute_identities(vectors, 0.5, method)
    assert all(label != label for label in found.labels[:2])
    assert np.isnan(found.scores[:2]).all()
    assert found.labels[2:].tolist() == clean.labels.tolist()
    nothing = compute_identities(np.full((3, 4), NAN), 0.5, method)
    assert pd.isna(nothing.labels).all()


def test_scores_are_the_cosine_with_the_rest_of_the_person(make):
    vectors, who = make.planted(50, 4, 16, 0.6)
    unit, _ = unit_rows(vectors)
    scores = support(unit, who)
    for row in range(50):
        others = (who == who[row]) & (np.arange(50) != row)
        centre = unit[others].astype(float).sum(0)
        expected = unit[row] @ centre / np.linalg.norm(centre)
        assert scores[row] == pytest.approx(max(0, expected), abs=1e-5)


def test_a_person_seen_once_has_no_score_and_nobody_has_the_nearest():
    unit = unit_rows([[1.0, 0.0], [0.8, 0.6], [0.0, -1.0], [0.6, 0.8]])[0]
    scores = support(unit, np.array([0, 0, 1, -1]))
    assert np.isnan(scores[2])
    np.testing.assert_allclose(scores[:2], 0.8, atol=1e-6)
    centre = np.array([1.8, 0.6]) / np.hypot(1.8, 0.6)
    assert scores[3] == pytest.approx(centre @ [0.6, 0.8], abs=1e-6)


def test_only_hdbscan_says_unknown(make):
    vectors, _ = make.planted(60, 3, 64, 0.9)
    unit = unit_rows(vectors)[0]
    vectors[7] = -unit.sum(0)  # farther from everybody than they are from each other
    found = compute_identities(vectors, 0.5, "hdbscan", min_cluster_size=3)
    assert found.labels[7] == "Unknown"
    assert list(found.labels).count("Unknown") == 1
    assert found.scores[7] < 0.5
    assert compute_identities(vectors, 0.5).labels[7].startswith("Person_")


def test_hdbscan_at_a_threshold_is_dbscan_for_clusters_below_it(make):
    """Between well separated people epsilon decides, and DBSCAN is an independent oracle."""
    vectors, _ = make.planted(150, 5, 64, 0.8)
    unit = unit_rows(vectors)[0]
    for threshold in (0.6, 0.75):
        ours = density_clusters(unit, threshold, 4)
        eps = np.sqrt(2 - 2 * threshold)
        model = DBSCAN(eps=eps, min_samples=4).fit(unit)
        core = np.isin(np.arange(150), model.core_sample_indices_)
        sizes = np.bincount(model.labels_[core])
        assert (sizes >= 4).all()
        np.testing.assert_array_equal(ours[core] < 0, np.zeros(core.sum(), bool))
        assert adjusted_rand_score(model.labels_[core], ours[core]) == 1


def test_hdbscan_keeps_wider_clusters_that_density_finds(make):
    vectors, who = make.planted(200, 4, 64, 0.7)
    assert adjusted_rand_score(who, density_clusters(unit_rows(vectors)[0], 0.95, 5)) > 0.99


def clip(make, people=3, frames=30, alike=0.6, seed=0):
    """People who sit side by side in a clip, with noisy embeddings."""
    draw = np.random.default_rng(seed)
    centres = unit_rows(draw.standard_normal((people, 32)))[0]
    noise = unit_rows(draw.standard_normal((people * frames, 32)))[0]
    who = np.tile(np.arange(people), frames)
    vectors = np.sqrt(alike) * centres[who] + np.sqrt(1 - alike) * noise
    boxes = [[200 * w + draw.integers(0, 20), 40, 120, 150] for w in who]
    return make.table(vectors, np.repeat(np.arange(frames), people), boxes), who


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_labels_do_not_depend_on_the_order_of_rows(make, method, seed):
    table, _ = clip(make, alike=0.35)
    rows = np.random.default_rng(seed).permutation(len(table))
    whole = compute_identities(table, 0.45, method)
    mixed = compute_identities(table.iloc[rows], 0.45, method)
    assert mixed["Identity"].tolist() == whole["Identity"].iloc[rows].tolist()
    np.testing.assert_array_equal(mixed["IdentityScore"], whole["IdentityScore"].iloc[rows])


def test_rows_that_differ_in_nothing_but_the_embedding_have_an_order_too(make):
    vectors, _ = make.planted(40, 10, 8, 0.5)
    fex = make.table(vectors, np.zeros(40), [[0, 0, 9, 9]] * 40)
    rows = np.random.default_rng(0).permutation(40)
    assert (
        compute_identities(fex.iloc[rows])["Identity"].tolist()
        == compute_identities(fex)["Identity"].iloc[rows].tolist()
    )


def test_tracks_mend_what_the_clusters_tear(make):
    table, who = clip(make, alike=0.65)
    loose = compute_identities(table, 0.8, track=False)
    tracked = compute_identities(table, 0.8, track=True)
    assert loose["Identity"].nunique() > 3
    assert adjusted_rand_score(who, codes(tracked["Identity"])) == 1
    assert tracked["Identity"].iloc[:3].tolist() == ["Person_1", "Person_2", "Person_3"]
    assert compute_identities(table, 0.8).equals(tracked)


def test_people_are_numbered_by_time_and_clips_by_name(make):
    vectors = np.eye(3)[[2, 1, 0, 1]]
    sources = ["clip10.mp4", "clip2.mp4", "clip2.mp4", "clip10.mp4"]
    fex = make.table(vectors, [1, 7, 3, 0], [[0, 0, 9, 9]] * 4, source=sources)
    assert compute_identities(fex)["Identity"].tolist() == [
        "Person_3",
        "Person_2",
        "Person_1",
        "Person_2",
    ]


def test_columns_types_and_provenance(make):
    table, _ = clip(make)
    table.loc[4, "Identity_7"] = NAN
    before = table.copy()
    found = compute_identities(table, 0.5, "connected")
    assert table.equals(before)
    columns = list(found.columns)
    assert columns.index("Identity") + 1 == columns.index("IdentityScore")
    assert columns.index("IdentityScore") + 1 == columns.index("Identity_1")
    assert found["IdentityScore"].dtype == np.float32
    assert pd.isna(found["Identity"][4])
    assert found["Identity"].dtype == pd.StringDtype(na_value=np.nan)
    assert found.meta["provenance"][-1] == {
        "step": "compute_identities",
        "threshold": 0.5,
        "method": "connected",
        "track": True,
    }
    assert list(compute_identities(found, 0.7).columns) == columns
    assert found.identities.equals(found["Identity"])


def test_the_table_has_the_same_as_a_method(make):
    table, _ = clip(make)
    ours = table.compute_identities(0.6, "connected", track=False)
    assert ours.equals(compute_identities(table, 0.6, "connected", track=False))
    assert table.compute_identities().equals(compute_identities(table))
    with pytest.raises(TypeError, match="thresh"):
        table.compute_identities(thresh=0.6)


def test_frames_without_a_face_stay(make):
    vectors = np.array([[1.0, 0], [NAN, NAN], [1.0, 0]])
    fex = make.table(vectors, range(3), [[0, 0, 9, 9], [NAN] * 4, [0, 0, 9, 9]], scores=[1, 0, 1])
    found = compute_identities(fex)
    assert found["Identity"].fillna("-").tolist() == ["Person_1", "-", "Person_1"]
    assert len(compute_identities(fex.iloc[:0])) == 0


def test_bad_options(make):
    table, _ = clip(make, frames=2)
    with pytest.raises(OptionError, match="unknown method 'dbscan'; known methods: gallery"):
        compute_identities(table, 0.5, "dbscan")
    with pytest.raises(OptionError, match="cosine similarity"):
        compute_identities(table, 1.5)
    with pytest.raises(OptionError, match="min_cluster_size"):
        compute_identities(table, min_cluster_size=1)
    with pytest.raises(OptionError, match="track needs a table"):
        compute_identities(np.eye(2), track=True)
    with pytest.raises(AbsentGroupError):
        compute_identities(table[["frame", "FaceRectX"]])


def test_teachers_embeddings_of_unseen_people(shared):
    """Real embeddings with names: the gallery groups most faces of a person and mixes few."""
    import polars as pl

    every = np.load(shared / "faces" / "identity_teacher.npz")["embedding"]
    labels = pl.read_parquet(shared / "faces" / "labels.parquet", columns=["identity", "split"])
    rows = ((labels["split"] == "val") & labels["identity"].is_not_null()).to_numpy()
    names = labels["identity"].to_numpy()[rows]
    found = compute_identities(every[rows], 0.5).labels
    same_name, same_label = names[:, None] == names[None], found[:, None] == found[None]
    upper = np.triu(np.ones_like(same_name, bool), 1)
    together = (same_name & same_label & upper).sum()
    assert together / (same_name & upper).sum() > 0.75
    assert together / (same_label & upper).sum() > 0.9
