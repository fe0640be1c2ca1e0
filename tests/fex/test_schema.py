"""The schema: names as DESIGN lists them, and packing by value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featflow.errors import SchemaError
from featflow.fex.schema import COLUMNS, GROUPS, column, present_groups
from featflow.flow.batch import SHAPES

NUMBERS = st.floats(-1e4, 1e4, width=32)


def test_names_are_those_of_the_design() -> None:
    names = {group: " ".join(GROUPS[group].names()) for group in GROUPS}
    assert names["source"] == "input frame time FrameHeight FrameWidth"
    assert names["facebox"] == "FaceRectX FaceRectY FaceRectWidth FaceRectHeight FaceScore"
    assert GROUPS["landmark"].names() == tuple(f"{a}_{i}" for a in "xy" for i in range(68))
    assert names["landmark_score"] == "LandmarkScore"
    assert names["pose"] == "Pitch Roll Yaw X Y Z"
    assert names["au"] == (
        "AU01 AU02 AU04 AU05 AU06 AU07 AU09 AU10 AU11 AU12 AU14 AU15 AU17 AU20 AU23 AU24 "
        "AU25 AU26 AU28 AU43"
    )
    assert names["emotion"] == "anger disgust fear happiness sadness surprise neutral"
    assert names["gaze"] == "gaze_pitch gaze_yaw gaze_angle"
    assert names["identity"] == "Identity IdentityScore"
    assert GROUPS["identity_embedding"].names(3) == ("Identity_1", "Identity_2", "Identity_3")
    assert names["decision"] == "Keep FilterReason"
    assert len(COLUMNS) == sum(len(g.columns) for g in GROUPS.values()), "a name occurs twice"


def test_every_column_has_a_range_and_a_sentence() -> None:
    families = [g.family for g in GROUPS.values() if g.family]
    for col in [*COLUMNS.values(), *families]:
        assert col.low < col.high
        assert col.description.endswith(".")
        assert col.description[0].isupper()


def test_landmarks_pack_all_x_before_all_y() -> None:
    field = np.arange(2 * 68 * 2, dtype=np.float32).reshape(2, 68, 2)
    packed = dict(
        zip(GROUPS["landmark"].packed_names(), GROUPS["landmark"].pack(field)[1], strict=True)
    )
    assert (packed["x_0"], packed["y_0"]) == (136, 137)
    assert (packed["x_67"], packed["y_67"]) == (270, 271)


def test_box_packs_corner_and_size() -> None:
    group = GROUPS["facebox"]
    assert group.packed_names() == ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
    np.testing.assert_array_equal(
        group.pack(np.array([[10.0, 20.0, 40.0, 80.0]])), [[10, 20, 30, 60]]
    )


def test_pose_stays_in_its_order() -> None:
    np.testing.assert_array_equal(GROUPS["pose"].pack(np.arange(6.0)[None]), [[0, 1, 2, 3, 4, 5]])


@pytest.mark.parametrize("name", ["landmark", "landmark_score", "pose", "au", "emotion", "gaze"])
@settings(deadline=None)
@given(data=st.data())
def test_unpack_inverts_pack_exactly(name: str, data: st.DataObject) -> None:
    group = GROUPS[name]
    shape = SHAPES.get(group.field, (len(group.columns),))
    values = data.draw(
        hnp.arrays(np.float32, (data.draw(st.integers(0, 3)), *shape), elements=NUMBERS)
    )
    packed = group.pack(values)
    assert packed.shape == (len(values), len(group.packed_names()))
    assert packed.dtype == np.float32
    np.testing.assert_array_equal(group.unpack(packed).reshape(values.shape), values)


@settings(deadline=None)
@given(hnp.arrays(np.float64, (3, 4), elements=NUMBERS))
def test_unpack_inverts_pack_of_boxes(box: np.ndarray) -> None:
    np.testing.assert_allclose(
        GROUPS["facebox"].unpack(GROUPS["facebox"].pack(box)), box, atol=1e-9
    )


def test_pack_refuses_another_number_of_values() -> None:
    with pytest.raises(SchemaError, match=r"'landmarks'.*10 values"):
        GROUPS["landmark"].pack(np.zeros((2, 5, 2)))


def test_column_finds_members_of_a_family_and_nothing_like_them() -> None:
    assert column("AU12") is COLUMNS["AU12"]
    assert column("Identity_512") is GROUPS["identity_embedding"].family
    for name in ("Identity_01", "Identity_x", "Identity_", "AU12_r", "x_68", "IdentityX"):
        assert column(name) is None, name


def test_groups_are_found_by_schema_and_not_by_prefix() -> None:
    found = present_groups(["AU12", "AU99", "x_0", "x_ray", "Identity_2", "surprise"])
    assert found == {"landmark": ["x_0"], "au": ["AU12"], "emotion": ["surprise"]}
    assert present_groups(["Identity_2", "Identity_1"]) == {
        "identity_embedding": ["Identity_1", "Identity_2"]
    }
