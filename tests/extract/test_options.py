"""Options of extraction in a detector: which wrappers stand where, what is marked and recorded."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featflow import Detector
from featflow.datasets import sample_photo
from featflow.errors import FeatflowError, OptionError, ResumeError
from featflow.extract import ExtractOptions, Normalised, Realign, Refeed, RotationSearch, Rule
from featflow.extract.people import people_rules
from featflow.flow.batch import FaceBatch
from featflow.flow.node import Node
from featflow.identity import ReferenceGallery
from featflow.nodes import make_node


class TopLeft(Node):
    """One face a frame, a box at the top left as wide as the first row is bright."""

    kind, name, unit = "face", "corner", "frame"
    provides = ("box", "score", "points5")

    def pre_process(self, batch: Any) -> Any:
        return [int(np.count_nonzero(image[0, :, 0])) for image in batch.frames.images]

    def process(self, inputs: Any) -> Any:
        return inputs

    def post_process(self, batch: Any, outputs: Any) -> FaceBatch:
        rows = [row for row, wide in enumerate(outputs) if wide]
        wide = np.array([outputs[row] for row in rows], np.float32)
        box = np.stack([wide * 0, wide * 0, wide, wide / 2], 1).reshape(-1, 4)
        fields = {
            "box": box,
            "score": np.ones(len(rows), np.float32),
            "points5": np.full((len(rows), 5, 2), np.nan, np.float32),
        }
        return FaceBatch(batch.frames.uids[rows], fields)


class Compass(Node):
    """The identity vector of a face is (cosine, sine) of its width in degrees; none at 7."""

    kind, name, unit = "identity", "compass", "face"
    requires, provides = ("box",), ("embedding",)
    shapes = {"embedding": (2,)}  # noqa: RUF012

    def pre_process(self, batch: Any) -> Any:
        return np.radians(batch.faces.box[:, 2].astype(np.float64))

    def process(self, inputs: Any) -> Any:
        return np.stack([np.cos(inputs), np.sin(inputs)], 1).astype(np.float32)

    def post_process(self, batch: Any, outputs: Any) -> dict[str, np.ndarray]:
        none = batch.faces.box[:, 2] == 7
        return {"embedding": np.where(none[:, None], np.float32(np.nan), outputs)}


def picture(wide: int, size: tuple[int, int] = (100, 100)) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    image[0, :wide] = 255
    return image


def corner(**options: Any) -> Detector:
    return Detector.only(**{"face": TopLeft(), "device": "cpu", **options})


def test_nothing_is_changed_where_nothing_is_asked() -> None:
    options = ExtractOptions()
    nodes = {"face": make_node("face", "tiny")}
    assert options.wrap(nodes) == nodes
    assert options.recorded() == {}
    assert "extract" not in corner().meta()["options"]


def test_wrappers_stand_where_the_options_say() -> None:
    spine = {"face": "tiny", "landmark": "tiny", "pose": "mlp"}
    detector = Detector.only(
        **spine, extract={"rotate": "90,45", "normalise": "clahe", "refeed": 3, "realign": True}
    )
    face, landmark = detector.nodes["face"], detector.nodes["landmark"]
    assert isinstance(face, RotationSearch)
    assert face.angles == (90.0, 45.0)
    assert isinstance(landmark, Realign)
    # The first pass is plain: feeds are averaged in the second alone.
    assert isinstance(landmark.node, Normalised)
    assert isinstance(landmark.final, Refeed)
    assert landmark.final.node is landmark.node
    assert len(landmark.final.scales) == 3
    assert detector.meta()["nodes"] == {
        "face": "face/tiny+rotate",
        "landmark": "landmark/tiny+clahe+refeed+realign",
        "pose": "pose/mlp",
    }
    plain = Detector.only(**spine).meta()["weights"]
    assert sorted(detector.meta()["weights"].values()) == sorted(plain.values())


def test_a_second_pass_without_feeds() -> None:
    landmark = Detector(extract={"realign": True}).nodes["landmark"]
    assert isinstance(landmark, Realign)
    assert landmark.final is landmark.node


def test_options_reach_the_table_and_its_metadata() -> None:
    rule = Rule("sureness", "confidence", ("score",), lambda batch: batch.faces.score, low=0.25)
    detector = corner(extract={"min_size": 0.2, "max_size": 0.5, "rules": (rule,)})
    fex = detector.detect([picture(w) for w in (19, 20, 50, 51, 0)], progress_bar=False)
    assert fex["Keep"].tolist() == [False, True, True, False, True]
    assert fex["FaceShare"].tolist()[:4] == pytest.approx([0.19, 0.2, 0.5, 0.51])
    assert fex.meta["options"]["extract"] == {
        "min_size": 0.2,
        "max_size": 0.5,
        "rules": [{"field": "sureness", "low": 0.25}],
    }
    assert fex.meta["nodes"]["filter"] == "filter/marks"
    json.dumps(dict(fex.meta))


def test_degrees_of_roll_are_radians_in_the_rule() -> None:
    (rule,) = ExtractOptions(max_roll=30).all_rules()
    assert rule.high == pytest.approx(math.pi / 6)
    assert rule.low == -rule.high


def test_rules_stand_in_the_order_of_the_page() -> None:
    own = people_rules(people(0), people(90), 0.5)
    options = ExtractOptions(
        min_size=0.1, order=True, max_scale=4, max_distance=0.2, max_roll=9, rules=tuple(own)
    )
    assert [rule.field for rule in options.all_rules()] == [
        "face_share",
        "aligned_order",
        "aligned_scale",
        "aligned_distance",
        "aligned_roll",
        "wanted_score",
        "unwanted_score",
    ]


@pytest.mark.parametrize(
    ("extract", "told"),
    [
        ({"rotation": 90}, "no option rotation; its options: rotate, normalise"),
        ({"rotate": 0}, "rotation step"),
        ({"refeed": -1}, "refeed must be"),
        ({"refeed": 1.5}, "refeed must be"),
        ({"normalise": "median"}, "known methods"),
        ({"min_size": -0.1}, "size: a limit"),
        ({"min_size": 0.5, "max_size": 0.4}, "above the largest"),
        ({"max_distance": -1}, "distance"),
        ({"max_roll": -5}, "roll"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(extract: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        Detector(extract=extract)


def test_options_about_empty_slots_are_refused() -> None:
    for name, value in (("normalise", "hist"), ("refeed", 2), ("realign", True)):
        with pytest.raises(OptionError, match=f"{name} needs a landmark node"):
            corner(extract={name: value})
    with pytest.raises(OptionError, match="needs 'landmarks'"):
        corner(extract={"max_roll": 5})
    with pytest.raises(OptionError, match="needs 'embedding'"):
        corner(extract={"rules": tuple(people_rules(people(0), None, 0.5))})


def test_a_resumed_run_must_have_the_same_options(tmp_path: Any) -> None:
    path = tmp_path / "faces.parquet"

    def breaks() -> Any:
        for _ in range(300):
            yield picture(20)
        raise ValueError("cable")

    with pytest.raises(ValueError, match="cable"):
        corner(extract={"min_size": 0.2}).detect(breaks(), save=path, progress_bar=False)
    with pytest.raises(ResumeError, match="min_size"):
        corner(extract={"min_size": 0.3}).detect(
            [picture(20)], save=path, resume=True, progress_bar=False
        )


# --- people -------------------------------------------------------------------------------


def people(*degrees: float) -> ReferenceGallery:
    angles = np.radians(degrees)
    return ReferenceGallery(
        [f"p{d:g}" for d in degrees], np.stack([np.cos(angles), np.sin(angles)], 1)
    )


WIDTHS = (10, 40, 60, 90, 7, 0)


@pytest.mark.parametrize(
    ("wanted", "unwanted", "kept"),
    [
        ((10,), (), (True, True, False, False, False, True)),
        ((), (90,), (True, True, False, False, True, True)),
        ((10, 60), (40,), (False, False, False, True, False, True)),
        ((60,), (), (False, True, True, True, False, True)),
    ],
)
def test_wanted_and_unwanted_are_anded_and_the_threshold_is_inclusive(
    wanted: Any, unwanted: Any, kept: Any
) -> None:
    # cos 30 degrees is the threshold, so 40 and 60, or 60 and 90, are just alike.
    threshold = float(np.cos(np.radians(30)))
    rules = people_rules(
        people(*wanted) if wanted else None, people(*unwanted) if unwanted else None, threshold
    )
    extract = {"rules": tuple(rules)}
    detector = corner(identity=Compass(), extract=extract)
    fex = detector.detect([picture(w) for w in WIDTHS], progress_bar=False)
    faces = np.array(WIDTHS, float)
    alike = _cosines(faces, wanted)
    if wanted:
        np.testing.assert_allclose(fex["WantedScore"][:4], alike[:4], atol=1e-5)
        assert fex["FilterReason"].iloc[4] == "no identity vector to compare"
    if unwanted:
        unlike = _cosines(faces, unwanted)
        np.testing.assert_allclose(fex["UnwantedScore"][:4], unlike[:4], atol=1e-5)
    assert tuple(fex["Keep"]) == kept
    assert len(fex) == len(WIDTHS)


def test_embeddings_stay_with_their_faces_where_a_filter_marks_some() -> None:
    detector = corner(identity=Compass(), identity_method=None, extract={"min_size": 0.4})
    fex = detector.detect([picture(w) for w in WIDTHS], progress_bar=False, batch_size=2)
    assert fex["Keep"].tolist() == [False, True, True, True, False, True]
    angles = np.radians(np.array(WIDTHS, float))
    angles[[4, 5]] = np.nan
    for table, rows in ((fex, slice(None)), (fex[fex["Keep"]], [1, 2, 3, 5])):
        np.testing.assert_allclose(table["Identity_1"], np.cos(angles)[rows], atol=1e-6)
        np.testing.assert_allclose(table["Identity_2"], np.sin(angles)[rows], atol=1e-6)


def _cosines(degrees: np.ndarray, references: Any) -> np.ndarray:
    apart = np.abs(degrees[:, None] - np.array(references, float))
    return np.cos(np.radians(apart)).max(1) if len(references) else np.zeros(len(degrees))


def test_one_picture_cannot_be_wanted_and_unwanted() -> None:
    with pytest.raises(OptionError, match="same picture"):
        people_rules(people(10), people(5, 10), 0.5)
    with pytest.raises(OptionError, match="cosine"):
        people_rules(people(10), None, 1.1)
    assert people_rules(None, None, 0.5) == []


class TwoHalves(Node):
    """A face in each half of the frame whose first row is bright."""

    kind, name, unit = "face", "halves", "frame"
    provides = ("box", "score", "points5")

    def pre_process(self, batch: Any) -> Any:
        return batch.frames.images

    def process(self, inputs: Any) -> Any:
        return inputs

    def post_process(self, batch: Any, outputs: Any) -> FaceBatch:
        uids, boxes = [], []
        for uid, image in zip(batch.frames.uids, outputs, strict=True):
            for half in (image[0, :100, 0], image[0, 100:, 0]):
                wide = int(np.count_nonzero(half > 128))
                if wide:
                    uids.append(uid)
                    boxes.append([0, 0, wide, wide])
        n = len(uids)
        return FaceBatch(
            np.array(uids, np.int64),
            {
                "box": np.array(boxes, np.float32).reshape(n, 4),
                "score": np.ones(n, np.float32),
                "points5": np.full((n, 5, 2), np.nan, np.float32),
            },
        )


def test_reference_photos_with_none_one_and_several_faces(tmp_path: Any) -> None:
    from PIL import Image

    from featflow.extract import gallery_of

    def photo(name: str, *wide: int) -> None:
        image = np.zeros((20, 200, 3), np.uint8)
        for at, width in enumerate(wide):
            image[0, 100 * at : 100 * at + width] = 255
        Image.fromarray(image).save(tmp_path / name)

    photo("Ada_1.png", 10)
    photo("Ada_2.png", 12)
    photo("Bob.png", 60, 80)
    photo("Nobody.png")
    (tmp_path / "Cleo").mkdir()
    photo("Cleo/holiday.png", 33)
    detector = Detector.only(face=TwoHalves(), identity=Compass(), device="cpu")
    one = gallery_of(detector, tmp_path)
    assert one.names == ("Ada", "Ada", "Cleo")
    assert {name.rsplit("/", 1)[1]: why for name, why in one.skipped.items()} == {
        "Bob.png": "2 faces",
        "Nobody.png": "no face",
    }
    every = gallery_of(detector, tmp_path, several="all")
    assert every.names == ("Ada", "Ada", "Bob", "Bob", "Cleo")
    degrees = np.degrees(np.arctan2(every.vectors[:, 1], every.vectors[:, 0]))
    np.testing.assert_allclose(degrees, [10, 12, 60, 80, 33], atol=1e-3)
    for wrong in (
        lambda: gallery_of(detector, tmp_path, "some"),
        lambda: gallery_of(corner(), tmp_path),
        lambda: gallery_of(detector, tmp_path / "nowhere"),
    ):
        with pytest.raises(FeatflowError):
            wrong()


def test_the_default_detector_with_everything_finds_the_portrait() -> None:
    extract = {"rotate": 180, "refeed": 1, "realign": True, "order": True, "max_distance": 0.15}
    fex = Detector(device="cpu", extract=extract).detect(sample_photo(), progress_bar=False)
    plain = Detector(device="cpu").detect(sample_photo(), progress_bar=False)
    assert fex["Keep"].all()
    pd.testing.assert_frame_equal(pd.DataFrame(fex.faceboxes), pd.DataFrame(plain.faceboxes))
    apart = np.abs(fex.landmarks.to_numpy() - plain.landmarks.to_numpy()).max()
    assert 0 < apart < 0.1 * fex["FaceRectWidth"].iloc[0]
