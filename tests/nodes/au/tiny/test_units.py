"""Which shapes stand for which unit, by hand-made activations and by the data themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.datasets.labelled import LabelledFaces
from featflow.nodes.au.tiny.units import RULES, SILENT, UNITS, teacher_units, units_from_shapes

ORDER = "1 2 4 5 6 7 9 10 11 12 14 15 17 20 23 24 25 26 28 43"


def of(**shapes):
    """Units by name of one face with these activations."""
    values = units_from_shapes(list(shapes), np.array([list(shapes.values())]))[0]
    return dict(zip(UNITS, values, strict=True))


def test_units_stand_in_the_order_of_the_table():
    assert tuple(f"AU{int(n):02d}" for n in ORDER.split()) == UNITS


@pytest.mark.parametrize(
    ("unit", "shapes", "value"),
    [
        ("AU01", {"browInnerUp": 0.7}, 0.7),
        ("AU01", {"browInnerUp_L": 0.2, "browInnerUp_R": 0.4}, 0.3),
        ("AU02", {"browOuterUpLeft": 1.0, "browOuterUpRight": 0.5}, 0.75),
        ("AU04", {"browDownLeft": 0.1, "browDownRight": 0.3}, 0.2),
        ("AU05", {"eyeWideLeft": 0.4, "eyeWideRight": 0.0}, 0.2),
        ("AU06", {"cheekRaiser_L": 0.4, "cheekRaiser_R": 0.6, "cheekSquint_L": 0.1}, 0.5),
        ("AU07", {"eyeSquintLeft": 0.6, "eyeSquintRight": 0.2}, 0.4),
        ("AU09", {"noseSneer_L": 0.6, "noseSneer_R": 0.2}, 0.4),
        ("AU10", {"mouthUpperUpLeft": 0.6, "mouthUpperUpRight": 0.2}, 0.6),
        ("AU12", {"mouthSmileLeft": 0.2, "mouthSmileRight": 0.9}, 0.9),
        ("AU14", {"mouthDimpleLeft": 0.3, "mouthDimpleRight": 0.1}, 0.3),
        ("AU15", {"mouthFrownLeft": 0.3, "mouthFrownRight": 0.5}, 0.5),
        ("AU17", {"mouthShrugLower": 0.8, "mouthShrugUpper": 0.1}, 0.8),
        ("AU20", {"mouthStretchLeft": 0.3, "mouthStretchRight": 0.1}, 0.3),
        (
            "AU23",
            {
                "mouthPressLeft": 0.2,
                "mouthPressRight": 0.4,
                "mouthRollLower": 0.6,
                "mouthRollUpper": 0,
            },
            0.3,
        ),
        ("AU24", {"mouthPressLeft": 0.2, "mouthPressRight": 0.4}, 0.3),
        ("AU25", {"mouthLowerDownLeft": 0.1, "mouthUpperUpRight": 0.2, "jawOpen": 0.6}, 0.6),
        ("AU25", {"mouthLowerDownLeft": 0.1, "mouthUpperUpRight": 0.7, "jawOpen": 0.6}, 0.7),
        ("AU26", {"jawOpen": 0.35}, 0.35),
        ("AU28", {"mouthRollLower": 0.9, "mouthRollUpper": 0.1}, 0.5),
        ("AU43", {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 0.0}, 0.5),
    ],
)
def test_a_unit_is_what_its_rule_says(unit, shapes, value):
    assert of(**shapes)[unit] == pytest.approx(value)


def test_a_unit_without_a_shape_is_not_a_number():
    units = of(jawOpen=0.5)
    assert {unit for unit, value in units.items() if np.isfinite(value)} == {"AU25", "AU26"}
    assert "AU11" not in RULES


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_mirror_does_not_change_a_unit(values):
    names = ["mouthSmileLeft", "mouthSmileRight", "eyeBlinkLeft", "eyeBlinkRight"]
    swapped = [names[i] for i in (1, 0, 3, 2)]
    here = units_from_shapes(names, np.array([values]))
    there = units_from_shapes(swapped, np.array([values]))
    np.testing.assert_array_equal(here, there)
    assert np.nanmin(here) >= 0
    assert np.nanmax(here) <= 1


def test_every_rule_finds_its_shapes_in_both_sources(shared):
    with np.load(shared / "geometry" / "ict_face68.npz") as file:
        modes = {str(n).removesuffix("_L").removesuffix("_R") for n in file["expression_names"]}
    columns = LabelledFaces.open(shared / "faces").table.columns
    teacher = {c.removeprefix("bs_").removesuffix("Left").removesuffix("Right") for c in columns}
    read = {shape for rule in RULES.values() for shape in rule.shapes}
    assert read <= modes
    assert read - teacher == {"cheekRaiser"}


def test_the_teacher_is_silent_about_what_is_called_silent(shared):
    units = teacher_units(LabelledFaces.open(shared / "faces"))
    moves = {unit: column.max() - column.min() for unit, column in zip(UNITS, units.T, strict=True)}
    assert {unit for unit, range_ in moves.items() if not range_ > 0.01} == set(SILENT)
    smile = LabelledFaces.open(shared / "faces").table.select(
        "bs_mouthSmileLeft", "bs_mouthSmileRight"
    )
    np.testing.assert_allclose(units[:, UNITS.index("AU12")], smile.to_numpy().max(1), atol=1e-6)
