"""Labels and marks of a detector's runs, with nodes whose answers are known.

People are squares: red makes a face, green and blue say whose.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from featflow.detector import Detector
from featflow.errors import MissingInputError, OptionError
from featflow.fex import read_fex
from featflow.flow.batch import FaceBatch
from featflow.flow.node import Node
from featflow.identity import ReferenceGallery, compute_identities
from featflow.identity.naming import Naming
from featflow.runs import PIECE_FRAMES, RunOptions

ADA, BO, CY = (250, 0), (0, 250), (150, 150)
SIDE = 12


class Squares(Node):
    """A face for each red square."""

    kind, name, unit = "face", "squares", "frame"
    provides = ("box", "score", "points5")

    def pre_process(self, batch):
        return batch.frames.images

    def process(self, inputs):
        return inputs

    def post_process(self, batch, outputs):
        uids, boxes = [], []
        for row, image in enumerate(outputs):
            parts = ndimage.find_objects(ndimage.label(image[..., 0] > 100)[0])
            boxes += [(p[1].start, p[0].start, p[1].stop, p[0].stop) for p in parts]
            uids += [batch.frames.uids[row]] * len(parts)
        count = len(uids)
        fields = {
            "box": np.array(boxes, np.float32).reshape(count, 4),
            "score": np.ones(count, np.float32),
            "points5": np.full((count, 5, 2), np.nan, np.float32),
        }
        return FaceBatch(np.array(uids, np.int64), fields)


class Hue(Node):
    """Green and blue of the middle of a face, which here say who it is."""

    kind, name, unit = "identity", "hue", "face"
    requires, provides = ("box",), ("embedding",)
    shapes = MappingProxyType({"embedding": (2,)})
    reads_frames = True
    same_person = 0.9

    def pre_process(self, batch):
        middle = ((batch.faces.box[:, :2] + batch.faces.box[:, 2:]) / 2).astype(int)
        images = [batch.frames.images[row] for row in batch.frame_rows]
        pixels = [i[y, x, 1:] for i, (x, y) in zip(images, middle, strict=True)]
        return np.array(pixels, np.float32).reshape(len(middle), 2)

    def process(self, inputs):
        return inputs

    def post_process(self, batch, outputs):
        return {"embedding": outputs}


def detector(**options):
    return Detector.only(face=Squares(), identity=Hue(), device="cpu", **options)


def frame(*people, at=(4, 30, 56), shift=0):
    image = np.zeros((30, 90, 3), np.uint8)
    for (green, blue), x in zip(people, at, strict=False):
        image[8 : 8 + SIDE, x + shift : x + shift + SIDE] = (255, green, blue)
    return image


def clip(count=20):
    """Ada and Bo, who change places; Cy joins them half way; every seventh frame is empty."""
    rng = np.random.default_rng(0)
    frames = []
    for index in range(count):
        people = [ADA, BO] if index % 4 < 2 else [BO, ADA]
        people += [CY] if index >= count // 2 else []
        noisy = [tuple(np.clip(rng.integers(-6, 7, 2) + p, 0, 255)) for p in people]
        frames.append(frame(*([] if index % 7 == 6 else noisy), shift=index % 3))
    return frames


@pytest.fixture
def enrolled():
    meta = {"nodes": {"identity": "identity/hue"}}
    return ReferenceGallery(["Ada", "Bo"], [ADA, BO], meta)


def expected_people(fex, names):
    """Who each row is by its colours."""
    vectors = fex[["Identity_1", "Identity_2"]].to_numpy()
    known = np.isfinite(vectors[:, 0])
    cosine = vectors @ np.array([ADA, BO, CY], float).T
    cosine /= np.linalg.norm([ADA, BO, CY], axis=1)
    return [names[int(c.argmax())] if k else None for c, k in zip(cosine, known, strict=True)]


def labels(fex):
    return [None if pd.isna(name) else name for name in fex["Identity"]]


def same(one, other):
    pd.testing.assert_frame_equal(pd.DataFrame(one), pd.DataFrame(other))


def test_a_run_ends_with_labels_in_order_of_appearance():
    fex = detector().detect(clip(), progress_bar=False)
    assert labels(fex) == expected_people(fex, ["Person_1", "Person_2", "Person_3"])
    assert set(labels(fex)) == {"Person_1", "Person_2", "Person_3", None}
    assert (fex["IdentityScore"].dropna() > 0.99).all()
    order = list(fex.columns)
    assert order.index("Identity") + 2 == order.index("Identity_1")


def test_labels_are_those_of_the_finished_table():
    plain = detector(identity_method=None).detect(clip(), progress_bar=False)
    assert "Identity" not in plain
    same(detector().detect(clip(), progress_bar=False), compute_identities(plain, 0.9))


def test_the_threshold_is_the_nodes_own_unless_given():
    assert detector().naming.threshold == 0.9
    fex = detector(identity_threshold=-1.0).detect(clip(), progress_bar=False)
    assert set(labels(fex)) == {"Person_1", None}
    assert fex.meta["provenance"][-1]["threshold"] == -1.0
    assert Detector.only(face=Squares(), device="cpu").naming is None


@pytest.mark.parametrize(
    "options", [{"batch_size": 1}, {"batch_size": 3}, {"num_workers": 2}], ids=str
)
def test_labels_do_not_depend_on_batches_or_workers(options, tmp_path):
    import av

    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25, width=90, height=30, pix_fmt="bgr0")
        for image in clip():
            picture = av.VideoFrame.from_ndarray(image, "rgb24")
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    expected = detector().detect(path, progress_bar=False)
    assert set(labels(expected)) == {"Person_1", "Person_2", "Person_3", None}
    same(detector().detect(path, progress_bar=False, **options), expected)


def long_clip():
    """More than two pieces, the first without any face."""
    return [frame()] * PIECE_FRAMES + clip(PIECE_FRAMES + 10)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".feather", ".json"])
def test_saved_rows_are_the_rows_that_are_returned(tmp_path, suffix):
    returned = detector().detect(long_clip(), progress_bar=False)
    saved = tmp_path / f"a{suffix}"
    same(detector().detect(long_clip(), save=saved, progress_bar=False), returned)
    same(read_fex(saved), returned)
    streamed = tmp_path / f"b{suffix}"
    run = detector().run(long_clip(), RunOptions())
    assert run.save(streamed, progress_bar=False) == len(returned)
    assert streamed.read_bytes() == saved.read_bytes()
    assert read_fex(streamed).meta["provenance"] == returned.meta["provenance"]
    assert returned.meta["provenance"][-1]["step"] == "compute_identities"


def test_a_resumed_run_has_the_labels_of_one_that_was_not_interrupted(tmp_path):
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    frames = long_clip()
    detector().detect(frames, save=whole, progress_bar=False)
    run = detector().run(frames, RunOptions())
    with run._writer(cut, resume=False) as writer:
        for number, piece in run.pieces():
            writer.add(number, piece)
            if number == 1:
                break
    detector().detect(frames, save=cut, resume=True, progress_bar=False)
    assert cut.read_bytes() == whole.read_bytes()


def test_the_streamed_file_needs_few_columns_at_once():
    held = []

    class Watching(Naming):
        def __call__(self, table):
            held.append(list(table.columns))
            return Naming.__call__(self, table)

    run = detector().run(clip(), RunOptions())
    table = detector(identity_method=None).detect(clip(), progress_bar=False)
    table = table.assign(AU12=0.5, x_0=1.0)
    named = Watching(0.9).of_pieces([table.iloc[:9], table.iloc[9:]], run.meta)
    assert "AU12" not in held[0]
    assert {"frame", "FaceRectX", "Identity_1", "Identity_2", "Keep"} <= set(held[0])
    assert list(named.columns) == ["Identity", "IdentityScore", "Keep", "FilterReason"]
    assert labels(named) == expected_people(table, ["Person_1", "Person_2", "Person_3"])


def test_enrolled_people_are_named(enrolled, tmp_path):
    fex = detector(identity_gallery=enrolled).detect(clip(), progress_bar=False)
    assert labels(fex) == expected_people(fex, ["Ada", "Bo", "Unknown"])
    path = enrolled.save(tmp_path / "people.parquet")
    same(detector(identity_gallery=str(path)).detect(clip(), progress_bar=False), fex)


def test_input_without_end_is_named_after_enrolled_people_only(enrolled):
    parts = list(detector(identity_gallery=enrolled).iter_detect(iter(clip()), batch_size=4))
    assert sum(part["frame"].nunique() for part in parts) == 20
    for part in parts:
        assert labels(part) == expected_people(part, ["Ada", "Bo", "Unknown"])
    assert all("Identity" not in part for part in detector().iter_detect(iter(clip())))


def test_people_not_wanted_are_marked_and_stay(enrolled):
    only_bo = ReferenceGallery(["Bo"], [BO], enrolled.meta)
    fex = detector(wanted=only_bo).detect(clip(), progress_bar=False)
    is_bo = np.array([name in ("Bo", None) for name in expected_people(fex, ["Ada", "Bo", "Cy"])])
    assert (fex["Keep"].to_numpy() == is_bo).all()
    without = detector(unwanted=only_bo, identity_method=None)
    fex = without.detect(clip(), progress_bar=False)
    people = expected_people(fex, ["Ada", "Bo", "Cy"])
    assert [reason != "" for reason in fex["FilterReason"]] == [name == "Bo" for name in people]
    assert "Identity" not in fex
    for part in without.iter_detect(iter(clip())):
        people = expected_people(part, ["Ada", "Bo", "Cy"])
        assert part["Keep"].tolist() == [name != "Bo" for name in people]


def test_tracks_vote_unless_told_otherwise():
    frames = [frame(ADA, shift=i) for i in range(6)]
    frames[3] = frame((200, 120), shift=3)  # like Ada by 0.86, so below the threshold
    voted = detector().detect(iter(frames), progress_bar=False)
    alone = detector(identity_track=False).detect(iter(frames), progress_bar=False)
    assert labels(voted) == ["Person_1"] * 6
    assert labels(alone) == ["Person_1"] * 3 + ["Person_2"] + ["Person_1"] * 2


def test_no_rows_and_no_faces():
    empty = detector().detect([frame()] * 3, progress_bar=False)
    assert labels(empty) == [None] * 3
    assert {"Identity_1", "Identity_2", "IdentityScore"} <= set(empty.columns)
    nothing = detector().detect(iter([]), progress_bar=False)
    assert len(nothing) == 0
    assert {"Identity", "Identity_2"} <= set(nothing.columns)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"identity_threshold": 1.5}, "threshold"),
        ({"identity_method": "guess"}, "identity_method"),
        ({"wanted": ReferenceGallery(["A"], [[1.0]], {"nodes": {"identity": "identity/x"}})}, "x"),
    ],
)
def test_options_that_cannot_be_used(options, message):
    with pytest.raises(OptionError, match=message):
        detector(**options)


def test_people_without_an_identity_node_are_refused(enrolled):
    with pytest.raises(OptionError, match="identity_gallery, unwanted needs an identity node"):
        Detector.only(face=Squares(), identity_gallery=enrolled, unwanted=enrolled, device="cpu")
    with pytest.raises(OptionError, match="identity_threshold"):
        Detector.only(face=Squares(), identity_threshold=0.5, device="cpu")


def test_an_identity_node_without_embeddings_gives_no_labels():
    class Nameless(Hue):
        name, provides, shapes = "nameless", ("hue",), MappingProxyType({"hue": (2,)})

        def post_process(self, batch, outputs):
            return {"hue": outputs}

    fex = Detector.only(face=Squares(), identity=Nameless(), device="cpu").detect(
        frame(ADA), progress_bar=False
    )
    assert "Identity" not in fex


def test_a_missing_file_of_people_is_named():
    with pytest.raises(MissingInputError, match=r"nobody\.parquet"):
        detector(identity_gallery="nobody.parquet")
