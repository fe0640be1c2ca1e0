"""py-feat scripts with their import changed, and arguments that py-feat lets pass."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import featflow.detector
from featflow import Detector, read_fex
from featflow.compat import Detectorv1
from featflow.compat.detectorv1 import pyfeat_columns
from featflow.datasets import sample_clip, sample_photo
from featflow.errors import (
    ArrayError,
    LicenceError,
    MissingInputError,
    OptionError,
    UnmetNeedsError,
)
from featflow.flow.node import Node
from featflow.nodes import card_of, make_node
from featflow.slots import REFERENCE

SHIPPED = {("face", "retinaface"): "tiny", ("landmark", "mobilefacenet"): "tiny"}
SHIPPED["pose", "pose_mlp"] = "mlp"


def stand_in(node):
    """A node of the same kind that says something of each face's box."""

    class StandIn(Node):
        kind, name, unit = node.kind, node.name, "face"
        provides, shapes = node.provides, node.shapes

        def pre_process(self, batch):
            return batch.faces.box[:, :1] / 1000

        def process(self, inputs):
            return inputs

        def post_process(self, batch, outputs):
            field, shape = self.provides[0], self.shapes[self.provides[0]]
            return {field: np.tile(outputs, shape[0]).astype(np.float32)}

    return StandIn()


@pytest.fixture
def light(monkeypatch):
    """Shipped nodes and stand-ins in place of the published ones, whose weights are not here."""
    made = []

    def make(kind, spec, options=None):
        node = make_node(kind, spec, options)
        made.append(node.id)
        if (kind, spec) in SHIPPED:
            return make_node(kind, SHIPPED[kind, spec])
        return stand_in(node) if card_of(node.id).source else node

    monkeypatch.setattr(featflow.detector, "make_node", make)
    return made


def rows_of(detector, inputs, **arguments):
    return detector.detect(inputs, progress_bar=False, **arguments)


# Scripts as in py-feat's documentation; `feat` is the only word that differs.
IMAGES = """
from feat import Detectorv1

detector = Detectorv1(device="cpu")
prediction = detector.detect(photo, data_type="image", progress_bar=False)
strong = prediction.loc[prediction["FaceScore"] > 0.5]
results = strong.aus.mean(), strong.emotions.columns.tolist(), strong.poses, strong.faceboxes
many = detector.detect([photo, photo], batch_size=2, output_size=700, progress_bar=False)
frames = many.groupby("frame")["FaceScore"].count().to_dict()
who = many.identities.tolist()
row = prediction[["x_30", "y_30", "Pitch", "gaze_pitch", "AU12", "happiness", "Identity_512"]]
"""

VIDEO = """
from feat import Detectorv1

detector = Detectorv1(
    face_model="retinaface", landmark_model="mobilefacenet", au_model="svm",
    emotion_model=None, identity_model="facenet", gaze_model=None, device="cpu",
)
prediction = detector.detect(
    clip, data_type="video", skip_frames=30, face_detection_threshold=0.6, save=save,
    face_identity_threshold=0.9, progress_bar=False, num_workers=0, pin_memory=False,
)
clock = prediction["approx_time"].tolist()
"""


def run_script(script, **names):
    tree = ast.parse(script)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    for node in imports:
        node.module = "featflow.compat"
    space = dict(names)
    exec(compile(tree, "script", "exec"), space)
    return space


def test_a_script_about_images(light):
    ran = run_script(IMAGES, photo=str(sample_photo()))
    assert set(light) == {f"{kind}/{name}" for kind, name in REFERENCE.items()}
    prediction, many = ran["prediction"], ran["many"]
    assert list(prediction.columns[:694]) == pyfeat_columns("image")
    assert len(prediction) == 1
    assert ran["frames"] == {0: 1, 1: 1}
    assert ran["who"] == ["Person_1", "Person_1"]
    assert prediction["input"].tolist() == [str(sample_photo())]
    assert np.isfinite(ran["row"].to_numpy(float)).all()
    plain = rows_of(Detector(device="cpu"), sample_photo())
    for name in ("FaceRectX", "x_30", "Pitch"):
        np.testing.assert_allclose(prediction[name], plain[name], rtol=1e-5)
    np.testing.assert_allclose(prediction["AU12"], prediction["FaceRectX"] / 1000, rtol=1e-5)
    assert many["FaceRectX"].sub(prediction["FaceRectX"][0]).abs().max() < 8


def test_a_script_about_a_clip(light, tmp_path):
    clip, save = sample_clip().path, tmp_path / "out.csv"
    ran = run_script(VIDEO, clip=str(clip), save=save)
    prediction = ran["prediction"]
    assert {"au/svm", "identity/facenet"} <= set(light)
    assert not any(node.startswith(("emotion/", "gaze/")) for node in light)
    assert list(prediction.columns[:695]) == pyfeat_columns("video")
    assert prediction["frame"].tolist() == sorted(prediction["frame"])
    assert set(prediction["frame"] % 30) == {0}
    minutes = [int(text[:2]) * 60 + int(text[3:]) for text in ran["clock"]]
    assert minutes == [int(seconds) for seconds in prediction["time"]]
    assert prediction[["anger", "gaze_yaw"]].isna().all(axis=None)
    assert prediction["AU12"].notna().any()
    written = read_fex(save)
    assert list(written.columns) == list(prediction.columns)
    assert written["Identity"].tolist() == prediction["Identity"].tolist()
    assert pd.read_csv(save)["approx_time"].tolist() == ran["clock"]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_tensors_are_numbered_and_hold_0_to_255(light, dtype):
    picture = np.asarray(Image.open(sample_photo()).convert("RGB"))
    tensor = torch.from_numpy(np.stack([picture, picture])).permute(0, 3, 1, 2).to(dtype)
    fex = rows_of(Detectorv1(), tensor, data_type="tensor", batch_size=2)
    assert fex["frame"].tolist() == [0, 1]
    assert fex["input"].unique().tolist() == ["tensor"]
    plain = rows_of(Detectorv1(), str(sample_photo()))
    np.testing.assert_allclose(fex["FaceRectX"], [plain["FaceRectX"][0]] * 2, atol=0.5)


def test_a_frame_without_a_face_is_a_row_of_nan(light, tmp_path):
    Image.new("RGB", (80, 60), (9, 9, 9)).save(tmp_path / "empty.png")
    inputs = [tmp_path / "empty.png", str(sample_photo())]
    fex = rows_of(Detectorv1(), inputs)
    assert fex["FaceScore"][0] == 0
    assert fex.loc[0, ["FaceRectX", "x_0", "AU01", "anger", "Identity_1"]].isna().all()
    assert fex["frame"].tolist() == [0, 1]
    assert (fex["FrameHeight"][0], fex["FrameWidth"][0]) == (60, 80)


def test_all_columns_are_there_with_models_left_out(light):
    detector = Detectorv1(
        landmark_model=None,
        au_model=None,
        emotion_model=None,
        identity_model=None,
        gaze_model=None,
    )
    fex = rows_of(detector, str(sample_photo()))
    assert list(fex.columns[:694]) == pyfeat_columns("image")
    assert fex[["x_0", "Pitch", "AU01", "Identity_1"]].isna().all(axis=None)
    assert fex["Identity"].isna().all()
    assert detector.info["facepose_model"] is None


def test_the_columns_are_those_of_the_document():
    names = pyfeat_columns("image")
    assert len(names) == len(set(names)) == 694
    assert names[:5] == ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
    assert names[5] == "x_0"
    assert names[72:75] == ["x_67", "y_0", "y_1"]
    assert names[141:147] == ["Pitch", "Roll", "Yaw", "X", "Y", "Z"]
    assert names[147] == "AU01"
    assert names[166:168] == ["AU43", "anger"]
    assert names[-8:-5] == ["gaze_pitch", "gaze_yaw", "gaze_angle"]
    assert names[-5:] == ["FrameHeight", "FrameWidth", "input", "frame", "Identity"]
    assert pyfeat_columns("video")[-2:] == ["approx_time", "Identity"]


CONSTRUCTOR = {
    "face_model": "retinaface",
    "landmark_model": "mobilefacenet",
    "au_model": "xgb",
    "emotion_model": "resmasknet",
    "identity_model": "arcface",
    "gaze_model": "l2cs",
    "device": "cpu",
}
DETECT = {
    "inputs": inspect.Parameter.empty,
    "data_type": "image",
    "output_size": None,
    "batch_size": 1,
    "num_workers": 0,
    "pin_memory": False,
    "face_identity_threshold": 0.8,
    "face_detection_threshold": 0.5,
    "skip_frames": None,
    "progress_bar": True,
    "save": None,
    "kwargs": inspect.Parameter.empty,
}


def test_the_signatures_are_those_of_the_document():
    for function, expected in ((Detectorv1, CONSTRUCTOR), (Detectorv1.detect, DETECT)):
        parameters = inspect.signature(function).parameters
        found = {name: p.default for name, p in parameters.items() if name != "self"}
        assert list(found.items()) == list(expected.items())


def test_options_and_defaults_are_those_of_the_document(shared):
    text = (shared / "reference/documents/detector.txt").read_text()
    start = text.index("SUPPORTED_MODELS = ") + len("SUPPORTED_MODELS = ")
    published = ast.literal_eval(text[start : text.index("}\n\n", start) + 1])
    assert {k: dict(v) for k, v in Detectorv1.SUPPORTED_MODELS.items()} == published
    defaults = {name.removesuffix("_model"): v["default"] for name, v in published.items()}
    defaults["pose"] = defaults.pop("facepose")
    assert defaults == REFERENCE


def test_every_option_is_a_node_here():
    for name, models in Detectorv1.SUPPORTED_MODELS.items():
        kind = {"facepose_model": "pose"}.get(name, name.removesuffix("_model"))
        for option in models["options"]:
            if option is not None and (kind, option) != ("pose", "img2pose"):
                assert card_of(f"{kind}/{option}").source is not None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"face_model": "mtcnn"}, "face_model is one of 'retinaface', 'img2pose'; got 'mtcnn'"),
        ({"face_model": None}, "face_model is one of"),
        ({"landmark_model": "tiny"}, "landmark_model is one of"),
        ({"au_model": "rf"}, "au_model is one of 'xgb', 'svm', None; got 'rf'"),
        ({"gaze_model": "geometric"}, "gaze_model is one of"),
        ({"device": "abacus"}, "device 'abacus'"),
    ],
)
def test_unknown_models_are_told(arguments, told):
    with pytest.raises(ValueError, match=told):
        Detectorv1(**arguments)
    with pytest.raises(OptionError, match=told):
        Detectorv1(**arguments)


def test_the_constructor_takes_no_other_arguments():
    with pytest.raises(TypeError, match="facepose_model"):
        Detectorv1(facepose_model="pose_mlp")


def test_a_model_that_needs_landmarks_says_so():
    with pytest.raises(UnmetNeedsError, match="needs 'landmarks'"):
        Detectorv1(landmark_model=None)


def test_names_that_say_the_same():
    assert Detectorv1(identity_model="arcface_r50").info["identity_model"] == "arcface"
    img2pose = Detectorv1(face_model="img2pose")
    assert img2pose.info["facepose_model"] == "img2pose"
    assert repr(img2pose).startswith("Detectorv1(face_model=img2pose, landmark_model=mobilefacen")
    assert Detectorv1(device=torch.device("cpu")).device == "cpu"


def nothing(tmp_path):
    return str(tmp_path / "none.jpg")


@pytest.mark.parametrize(
    ("inputs", "arguments", "error", "told"),
    [
        (sample_photo, {"facepose_model_kwargs": {}}, OptionError, "no arguments facepose_model"),
        (sample_photo, {"data_type": "webcam"}, OptionError, "one of image, tensor, video"),
        (sample_photo, {"data_type": None}, OptionError, "one of image, tensor, video"),
        (sample_photo, {"data_type": "video"}, OptionError, "is a photo, but data_type is 'video'"),
        (lambda: sample_clip().path, {}, OptionError, "is a clip, but data_type is 'image'"),
        (sample_photo, {"data_type": "tensor"}, OptionError, "takes a tensor"),
        (lambda: torch.zeros(1, 3, 8, 8), {}, OptionError, "takes paths, got Tensor"),
        (lambda: Path(sample_photo()).parent, {}, OptionError, "is a folder"),
        (lambda: "none.jpg", {}, MissingInputError, "none.jpg"),
        (list, {}, OptionError, "empty list"),
        (lambda: [sample_clip().path], {"data_type": "video"}, OptionError, "takes one path"),
        (sample_photo, {"skip_frames": 2}, OptionError, "skip_frames is for data_type='video'"),
        (sample_photo, {"pin_memory": 1}, OptionError, "pin_memory is True or False"),
        (sample_photo, {"face_identity_threshold": 1.5}, OptionError, "cosine"),
        (sample_photo, {"face_detection_threshold": 2}, OptionError, "face_detection_threshold"),
        (sample_photo, {"batch_size": 0}, OptionError, "batch_size"),
        (
            lambda: torch.rand(1, 3, 8, 8),
            {"data_type": "tensor"},
            ArrayError,
            "hold 0..255.*multiply by 255",
        ),
        (lambda: torch.rand(1, 3, 8, 8) * 300, {"data_type": "Tensor"}, ArrayError, "hold 0..255"),
    ],
)
def test_arguments_that_pyfeat_lets_pass_are_told(light, inputs, arguments, error, told):
    with pytest.raises(error, match=told):
        Detectorv1().detect(inputs(), progress_bar=False, **arguments)


def test_the_reference_set():
    detector = Detector.reference(preprocessing="reference", device="cpu")
    assert {slot: node.name for slot, node in detector.nodes.items()} == REFERENCE
    assert {node.preprocessing for node in detector.nodes.values()} == {"reference"}
    assert {node.preprocessing for node in Detector.reference().nodes.values()} == {"trained"}
    given = Detector.reference(weights={"identity/arcface": "mine.safetensors"})
    assert given.nodes["identity"].weights == "mine.safetensors"
    with pytest.raises(LicenceError, match="identity/arcface"):
        Detector.reference(commercial_ok=True)
    with pytest.raises(OptionError, match="preprocessing"):
        Detector.reference(preprocessing="both")


def test_the_reference_set_takes_what_a_detector_takes():
    detector = Detector.reference(
        bf16=True, compile=True, identity_threshold=0.4, mode="sequential"
    )
    assert detector.compile
    assert detector.mode == "sequential"
    assert detector.naming.threshold == 0.4
    rough = {s for s, n in detector.nodes.items() if getattr(n, "dtype", None) == torch.bfloat16}
    able = {s for s, n in detector.nodes.items() if getattr(n, "takes_bf16", False)}
    assert rough == able == {"emotion", "identity", "gaze"}
    with pytest.raises(TypeError, match="speed"):
        Detector.reference(speed=9)
    with pytest.raises(TypeError, match="'face'"):
        Detector.reference(face="tiny")
