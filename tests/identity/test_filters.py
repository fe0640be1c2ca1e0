"""Filters mark and never delete."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from featflow.errors import OptionError, SchemaError
from featflow.identity import ReferenceGallery, count_marks, filter_faces, filter_people, mark

NAN = float("nan")


def faces(make):
    vectors = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [NAN] * 3, [NAN] * 3]
    boxes = [[0, 0, 50, 20], [0, 0, 10, 30], [0, 0, 20, 20], [0, 0, 90, 90], [NAN] * 4]
    return make.table(vectors, range(5), boxes, scores=[0.9, 0.5, 0.7, 0.8, 0])


def test_marks_add_up_and_rows_stay(make):
    table = faces(make)
    once = mark(table, np.array([True, True, False, False, False]), "dark")
    twice = mark(once, np.array([False, True, True, False, False]), "small")
    assert twice["Keep"].tolist() == [False, False, False, True, True]
    assert twice["FilterReason"].tolist() == ["dark", "dark; small", "small", "", ""]
    assert mark(twice, np.ones(5, bool), "dark")["FilterReason"].iloc[1] == "dark; small"
    assert table["Keep"].all()
    assert len(twice) == 5
    bare = mark(table.drop(columns=["Keep", "FilterReason"]), np.ones(5, bool), "x")
    assert not bare["Keep"].any()


def test_limits_are_inclusive_and_frames_without_a_face_stay(make):
    table = faces(make)
    by_score = filter_faces(table, min_score=0.7)
    assert by_score["Keep"].tolist() == [True, False, True, True, True]
    by_size = filter_faces(table, min_size_px=30)
    assert by_size["Keep"].tolist() == [True, True, False, True, True]
    assert by_size["FilterReason"].iloc[2] == "face smaller than 30 px"


def test_by_label_and_its_score(make):
    table = faces(make)
    table["Identity"] = ["Ada", "Bo", "Unknown", None, None]
    table["IdentityScore"] = [0.8, 0.3, 0.2, NAN, NAN]
    assert filter_faces(table, people=["Ada"])["Keep"].tolist() == [True, False, False, False, True]
    low = filter_faces(table, min_identity_score=0.3)
    assert low["Keep"].tolist() == [True, True, False, False, True]
    with pytest.raises(SchemaError, match="IdentityScore"):
        filter_faces(faces(make), min_identity_score=0.5)


@pytest.mark.parametrize(("want", "refuse"), list(itertools.product([True, False], repeat=2)))
def test_truth_table_of_wanted_and_unwanted(make, want, refuse):
    """Kept are faces like the wanted AND unlike the unwanted; one gallery decides alone."""
    if not want and not refuse:
        with pytest.raises(OptionError, match="people who are wanted"):
            filter_people(faces(make))
        return
    table = faces(make)
    table.loc[2, ["Identity_1", "Identity_2", "Identity_3"]] = [0.71, 0.70, 0.0]  # like both
    wanted = ReferenceGallery(["Ada"], [[1.0, 0, 0]]) if want else None
    unwanted = ReferenceGallery(["Bo"], [[0, 1.0, 0]]) if refuse else None
    found = filter_people(table, wanted, unwanted, 0.65)
    like = {0: (True, False), 1: (False, True), 2: (True, True)}
    for row, (ada, bo) in like.items():
        assert found["Keep"][row] == ((ada or not want) and not (bo and refuse))
    assert found["Keep"][3] == (not want)  # a face that cannot be compared is not wanted
    assert found["Keep"][4]
    if want:
        assert found["FilterReason"][3] == "no identity vector to compare"
    if refuse:
        assert "like Bo, who is not wanted" in found["FilterReason"][1]


def test_threshold_of_people_is_inclusive(make):
    table = make.table([[0.6, 0.8]], [0], [[0, 0, 9, 9]])
    gallery = ReferenceGallery(["Ada"], [[1.0, 0.0]])
    assert filter_people(table, gallery, threshold=0.6)["Keep"].all()
    assert not filter_people(table, gallery, threshold=0.601)["Keep"].any()
    assert not filter_people(table, unwanted=gallery, threshold=0.6)["Keep"].any()


def test_one_picture_cannot_be_wanted_and_unwanted(make):
    one, other = ReferenceGallery(["Ada"], [[1.0, 0, 0]]), ReferenceGallery(["Bo"], [[2.0, 0, 0]])
    with pytest.raises(OptionError, match="'Ada', who is wanted, and for 'Bo'"):
        filter_people(faces(make), one, other)


def test_bad_marks(make):
    with pytest.raises(OptionError, match="5 truth values"):
        mark(faces(make), [1, 2], "x")
    with pytest.raises(OptionError, match="one line"):
        mark(faces(make), np.ones(5, bool), " ")


def test_marks_are_counted_by_rule_whatever_the_number_was(make):
    table = faces(make)
    table["FilterReason"] = [
        "size 0.09 is below 0.1; like Bo, who is not wanted",
        "size 1e-05 is below 0.1",
        "roll -0.6 is below -0.5; size 0.02 is below 0.1",
        "size 0.02 is below 0.1; unreadable: is cut short (size 3 is below 4; decode it again)",
        "",
    ]
    assert count_marks(table).to_dict() == {
        "size is below 0.1": 4,
        "like Bo, who is not wanted": 1,
        "roll is below -0.5": 1,
        "unreadable": 1,
    }
    assert count_marks(table).index[0] == "size is below 0.1"
    assert count_marks(faces(make)).empty
    with pytest.raises(SchemaError, match="FilterReason"):
        count_marks(table.drop(columns="FilterReason"))


def test_counts_are_those_of_the_rules(make):
    """Each rule's own words, over values of any size, count as one reason."""
    from featflow.extract import distance_rule, roll_rule, size_rule

    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, 200) * 10.0 ** rng.integers(-8, 9, 200)
    values[:2] = np.inf, -np.inf
    rules = {"size": size_rule(0.5, 2.0), "roll": roll_rule(0.1), "dist": distance_rule(0.3)}
    table = faces(make).iloc[:1]
    for rule in rules.values():
        reasons = rule.reasons(values)
        many = table.loc[table.index.repeat(200)].assign(FilterReason=reasons)
        found = count_marks(many)
        low, high = (values < rule.low).sum(), (values > rule.high).sum()
        assert sorted(found) == sorted(n for n in (low, high) if n)
        assert set(found.index) <= {
            f"{rule.title} is below {rule.low:.4g}",
            f"{rule.title} is above {rule.high:.4g}",
        }
