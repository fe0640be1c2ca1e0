"""The nodes around the published networks, whole, on stand-in weights.

Weights are laid down as they are published: names, containers, prefixes and what they leave
out. Expected values come from the bare network (which tests/nodes/networks proves) on pixels cut
by slicing, prepared by formulas written out here, and decoded by formulas written out here.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from math import prod

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from featflow.datasets.frame import Frame
from featflow.errors import OptionError, WeightsError
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.crop import FIVE_POINT_TEMPLATE
from featflow.geometry.mean_face import FACE68_CM
from featflow.geometry.rotation import rotation_from_angles
from featflow.nodes import card_of, get_node_class, make_node
from featflow.nodes._published import completed
from featflow.nodes.face.img2pose.node import centimetres, limited_size
from featflow.nodes.networks import network
from featflow.testing import check_node

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
TEMPLATE = FACE68_CM * [0.1, -0.1, -0.1]  # img2pose's axes: y down, z away; decimetres
POSE_MEAN = [0.02, -0.1, 0.03, 0.1, -0.2, 8.0]
POSE_STD = [0.1, 0.2, 0.1, 0.05, 0.05, 0.3]
LAYOUTS = {
    "emotion/resmasknet": "resmasknet",
    "face/img2pose": "img2pose",
    "face/retinaface": "retinaface_r34",
    "gaze/l2cs": "l2cs_r50",
    "identity/arcface": "arcface_r50",
    "identity/facenet": "facenet",
    "landmark/mobilefacenet": "mobilefacenet",
    "landmark/mobilenet": "mobilenet_gdconv",
    "landmark/pfld": "pfld",
    "pose/pose_mlp": "pose_mlp",
}
HEAVY = LAYOUTS.keys() - {"landmark/pfld", "pose/pose_mlp"}
ALL_CHECKS = os.environ.get("FEATFLOW_ALL_CHECKS") == "1"


def gentle(node, weights):
    """Stand-in outputs are so large that probabilities are 0 or 1 and rounding shows; these not."""
    for key, factor in {
        "face/img2pose": {"rpn.head.bbox_pred.weight": 0.02, "roi_heads.class_predictor": 0.05},
        "face/retinaface": {"BboxHead": 0.02, "LandmarkHead": 0.02, "ClassHead": 0.05},
        "gaze/l2cs": {"fc_yaw_gaze": 0.05, "fc_pitch_gaze": 0.05},
        "identity/arcface": {"features.weight": 1e-5},
        "emotion/resmasknet": {"fc.1": 0.05},
    }.get(node, {}).items():
        for name in [name for name in weights if name.startswith(key)]:
            weights[name] = weights[name] * factor
    if node == "face/img2pose":  # poses near the mean, so that heads stay before the camera
        for name in [name for name in weights if "dof_pred.3" in name]:
            weights[name] = weights[name] * 0.02
    return weights


def as_published(node, weights):
    """What the published file holds, and how it is written."""
    prefixed = {f"module.{key}": value for key, value in weights.items()}
    without_counters = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    return {
        "landmark/mobilefacenet": ({"epoch": 3, "state_dict": weights}, torch.save),
        "landmark/mobilenet": ({"state_dict": prefixed, "best_acc": 0.5}, torch.save),
        "landmark/pfld": ({"state_dict": weights, "optimizer": {"lr": 0.1}}, torch.save),
        "emotion/resmasknet": ({"net": weights}, torch.save),
        "identity/facenet": (weights, torch.save),
        "identity/arcface": (without_counters, save_file),
        "gaze/l2cs": (prefixed, save_file),
    }.get(node, (weights, save_file))


COMPANIONS = {
    "face/img2pose": {
        "pose_mean": POSE_MEAN,
        "pose_stddev": POSE_STD,
        "threed_points": TEMPLATE.tolist(),
        "bbox_x_factor": 1.1,
        "bbox_y_factor": 1.1,
        "expand_forehead": 0.3,
    },
    "pose/pose_mlp": {
        "architecture": {
            "hidden": [512, 256, 128],
            "dropout": 0.15,
            "output_normalization": {"mean": POSE_MEAN, "std": POSE_STD},
        }
    },
}


@pytest.fixture(scope="module")
def lay(expectation, tmp_path_factory):
    """Write the stand-in weights of a node as they are published; the folder and the tensors."""
    root, done = tmp_path_factory.mktemp("weights"), {}

    def write(node):
        if node not in done:
            done.clear()
            source, folder = card_of(node).source, root / node
            folder.mkdir(parents=True, exist_ok=True)
            weights = gentle(node, expectation(LAYOUTS[node]).weights())
            content, save = as_published(node, weights)
            save(content, folder / source.files[0])
            for name in source.files[1:]:
                (folder / name).write_text(json.dumps(COMPANIONS[node]))
            done[node] = folder, weights
        return done[node]

    return write


def bare(node, weights):
    """The network with the stand-in weights, not loaded by the node."""
    with torch.device("meta"):
        model = network(LAYOUTS[node])
    model.load_state_dict(weights, assign=True)
    return model


def noise(height, width, seed=0):
    coarse = np.random.RandomState(seed).randint(0, 256, (height // 4 + 1, width // 4 + 1, 3))
    return coarse.repeat(4, 0).repeat(4, 1)[:height, :width].astype(np.uint8)


def frames(*images, scale=1.0):
    made = [
        Frame(image, f"f{at}", at, 0.0, tuple(round(s / scale) for s in image.shape[:2]), scale)
        for at, image in enumerate(images)
    ]
    return FrameBatch.from_frames(made)


def run(node, batch):
    with torch.inference_mode():
        return node.post_process(batch, node.process(node.pre_process(batch)))


def nchw(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32))


def bgr01(p):
    return p[..., ::-1] / 255


def rgb01(p):
    return p / 255


def imagenet(p):
    return (p / 255 - MEAN) / STD


def bgr_imagenet(p):
    return (p[..., ::-1] / 255 - MEAN) / STD


def grey01(p):
    return ((p @ [0.299, 0.587, 0.114]) / 255)[..., None].repeat(3, -1)


def signed(p):
    return p / 127.5 - 1


def facenet(p):
    return (p - 127.5) / 128


def enlarged(p):
    return cv2.resize(imagenet(p), (224, 224), interpolation=cv2.INTER_LINEAR)


def landmarks(outputs, size, corner):
    first = outputs[0] if isinstance(outputs, tuple) else outputs
    return first.numpy().reshape(68, 2) * size + corner


def emotions(outputs, size, corner):
    powers = np.exp(outputs.numpy()[0].astype(np.float64))
    return powers / powers.sum()


def embedding(outputs, size, corner):
    return outputs.numpy()[0]


def gaze(outputs, size, corner):
    yaw, pitch = (
        np.radians((torch.softmax(logits[0].double(), 0).numpy() * (np.arange(90) * 4 - 180)).sum())
        for logits in outputs
    )
    # The angle between the direction (x, y, z) and the optical axis.
    direction = [np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)]
    return np.array([pitch, yaw, np.arctan2(np.hypot(*direction[:2]), direction[2])])


# Node, mode, side of the crop, side of the crop over the box's, preparation, decoding.
CROPS = [
    ("landmark/mobilefacenet", "trained", 112, 1.2, bgr01, landmarks),
    ("landmark/mobilefacenet", "reference", 112, 1.2, rgb01, landmarks),
    ("landmark/pfld", "trained", 112, 1.2, bgr01, landmarks),
    ("landmark/pfld", "reference", 112, 1.2, rgb01, landmarks),
    ("landmark/mobilenet", "trained", 224, 1.2, bgr_imagenet, landmarks),
    ("landmark/mobilenet", "reference", 224, 1.2, imagenet, landmarks),
    ("identity/arcface", "trained", 112, None, signed, embedding),
    ("identity/arcface", "reference", 112, 1.2, signed, embedding),
    ("identity/facenet", "trained", 160, 1.25, facenet, embedding),
    ("identity/facenet", "reference", 112, 1.2, rgb01, embedding),
    ("gaze/l2cs", "trained", 448, 1.0, imagenet, gaze),
    ("gaze/l2cs", "reference", 112, 1.2, enlarged, gaze),
    ("emotion/resmasknet", "trained", 224, 1.1, grey01, emotions),
    ("emotion/resmasknet", "reference", 224, 1.1, rgb01, emotions),
]


@pytest.mark.parametrize(
    ("node", "mode", "size", "grown", "prepare", "decode"),
    CROPS,
    ids=[f"{c[0]}-{c[1]}" for c in CROPS],
)
def test_a_face_from_pixels_to_values(lay, node, mode, size, grown, prepare, decode):
    if node == "emotion/resmasknet" and not ALL_CHECKS:
        pytest.skip("138 million weights: set FEATFLOW_ALL_CHECKS=1")
    folder, weights = lay(node)
    corner = np.array([37, 21])
    image = noise(500, 520, seed=5)
    centre, half = corner + size / 2, size / (grown or 1.0) / 2
    fields = {"box": np.array([[*(centre - half), *(centre + half)]])}
    if "points5" in get_node_class(*node.split("/")).requires:
        points = FIVE_POINT_TEMPLATE * size + corner if grown is None else np.zeros((5, 2))
        fields["points5"] = points[None]
    batch = Batch(frames(image), FaceBatch(np.zeros(1, np.int64), fields))
    made = make_node(*node.split("/"), {"weights": folder, "preprocessing": mode})
    made.load()
    found = run(made, batch)
    ((name, values),) = found.items()
    cut = image[corner[1] : corner[1] + size, corner[0] : corner[0] + size].astype(np.float64)
    with torch.inference_mode():
        outputs = bare(node, weights)(nchw(prepare(cut)))
    expected = decode(outputs, size, corner)
    assert values.dtype == np.float32
    assert values.shape == (1, *made.shape_of(name))
    scale = np.abs(expected).max()
    assert np.abs(values[0] - expected).max() < 2e-4 * scale
    if name in ("emotions", "gaze"):  # not decided by one huge number
        assert np.sort(np.abs(expected))[-2] > 1e-3


@pytest.mark.parametrize(("mode", "prepare"), [("trained", grey01), ("reference", rgb01)])
def test_emotions_from_pixels_to_values_with_a_small_network(tmp_path, monkeypatch, mode, prepare):
    """All of the node but its network: container, crop, colour and probabilities."""

    def small():
        return torch.nn.Sequential(
            torch.nn.AvgPool2d(56), torch.nn.Flatten(), torch.nn.Linear(48, 7)
        )

    node = make_node("emotion", "resmasknet", {"weights": tmp_path, "preprocessing": mode})
    monkeypatch.setattr(type(node), "build", lambda self: small())
    rng = np.random.default_rng(3)
    weight, bias = rng.normal(size=(7, 48)) / 3, rng.normal(size=7)
    net = {"2.weight": torch.tensor(weight), "2.bias": torch.tensor(bias)}
    torch.save({"net": net}, tmp_path / "ResMaskNet_Z_resmasking_dropout1_rot30.pth")
    image, corner = noise(300, 310, seed=7), np.array([31, 17])
    centre, half = corner + 112, 224 / 1.1 / 2
    box = np.array([[*(centre - half), *(centre + half)]])
    node.load()
    found = run(node, Batch(frames(image), FaceBatch(np.zeros(1, np.int64), {"box": box})))
    pixels = prepare(image[17 : 17 + 224, 31 : 31 + 224].astype(np.float64))
    pooled = pixels.reshape(4, 56, 4, 56, 3).mean((1, 3)).transpose(2, 0, 1).ravel()
    powers = np.exp(weight @ pooled + bias)
    np.testing.assert_allclose(found["emotions"][0], powers / powers.sum(), atol=1e-4)


def test_landmarks_are_in_pixels_of_the_original(lay):
    """A picture worked on at half its size gives the same points, twice as far apart."""
    folder, _ = lay("landmark/pfld")
    node = make_node("landmark", "pfld", {"weights": folder})
    image = noise(160, 170, seed=2)
    box = np.array([[30.0, 20.0, 110.0, 100.0]])
    one = FaceBatch(np.zeros(1, np.int64), {"box": box})
    two = FaceBatch(np.zeros(1, np.int64), {"box": 2 * box})
    whole = run(node, Batch(frames(image), one))["landmarks"]
    half = run(node, Batch(frames(image, scale=0.5), two))["landmarks"]
    np.testing.assert_allclose(half, 2 * whole, rtol=1e-4, atol=1e-2)
    assert np.ptp(whole) > 1


@pytest.mark.parametrize("mode", ["trained", "reference"])
def test_pose_of_landmarks(lay, mode):
    folder, weights = lay("pose/pose_mlp")
    node = make_node("pose", "pose_mlp", {"weights": folder, "preprocessing": mode})
    points = FACE68_CM[:, :2] * [9.0, -9.0] + [300.0, 200.0]
    fields = {"box": np.zeros((1, 4)), "landmarks": points[None]}
    node.load()
    found = run(node, Batch(frames(noise(20, 20)), FaceBatch(np.zeros(1, np.int64), fields)))
    unit = np.hypot(*(points[36] - points[45]))
    flat = np.concatenate(
        [(points[:, 0] - points[:, 0].mean()), points[:, 1] - points[:, 1].mean()]
    )
    with torch.inference_mode():
        raw = bare("pose/pose_mlp", weights)(torch.tensor(flat[None] / unit, dtype=torch.float32))
    raw = raw.numpy()[0] * POSE_STD + POSE_MEAN
    pose = found["pose"][0]
    if mode == "reference":
        np.testing.assert_allclose(pose, [-raw[0], -raw[2], raw[1], *raw[3:]], rtol=1e-4, atol=1e-5)
    else:
        assert np.isnan(pose[3:]).all()
        # Angles about x, then y, then z of a camera with y down and z away.
        flip = np.diag([1.0, -1.0, -1.0])
        cx, cy, cz = np.cos(raw[:3])
        sx, sy, sz = np.sin(raw[:3])
        x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        head = flip @ z @ y @ x @ flip
        np.testing.assert_allclose(rotation_from_angles(*pose[:3]), head, atol=1e-5)


@pytest.mark.parametrize("mode", ["trained", "reference"])
def test_retinaface_finds_its_surest_face(lay, mode):
    folder, weights = lay("face/retinaface")
    node = make_node("face", "retinaface", {"weights": folder, "preprocessing": mode})
    node.load()
    images = [noise(64, 96, 1), noise(48, 64, 2), noise(64, 96, 3)]
    batch = Batch(frames(*images, scale=0.5), min_score=0.3)
    found = run(node, batch)
    assert (np.diff(found.frame_uid) >= 0).all()
    model = bare("face/retinaface", weights)
    for uid, image in enumerate(images):
        pixels = image.astype(np.float64)
        if mode == "trained":
            pixels = pixels[..., ::-1] - [104, 117, 123]
        else:
            pixels = pixels - [123, 117, 104]
        with torch.inference_mode():
            deltas, scores, points = (part.numpy()[0] for part in model(nchw(pixels)))
        best = int(scores[:, 1].argmax())
        x, y, side = anchor(best, *image.shape[:2])
        dx, dy, dw, dh = deltas[best]
        cx, cy = x + 0.1 * dx * side, y + 0.1 * dy * side
        w, h = side * np.exp(0.2 * dw), side * np.exp(0.2 * dh)
        box = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
        five = [x, y] + 0.1 * points[best].reshape(5, 2) * side
        faces = found[found.frame_uid == uid]
        np.testing.assert_allclose(faces.score[0], scores[best, 1], rtol=1e-4)
        np.testing.assert_allclose(faces.box[0], 2 * box, rtol=1e-3, atol=0.02)
        np.testing.assert_allclose(faces.points5[0], 2 * five, rtol=1e-3, atol=0.02)
        assert faces.score.min() >= 0.3
        assert (np.diff(faces.score) <= 0).all()


def anchor(number, height, width):
    """Centre and side of the anchor of that number: level, row, column, size."""
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        columns = -(-width // stride)
        count = -(-height // stride) * columns * 2
        if number < count:
            cell = number // 2
            return (
                (cell % columns + 0.5) * stride,
                (cell // columns + 0.5) * stride,
                sides[number % 2],
            )
        number -= count
    raise AssertionError(number)


@pytest.fixture
def img2pose(lay):
    """The node, and a run of it on a picture that the network sees at 96 pixels."""
    folder, weights = lay("face/img2pose")

    def detect(mode, image, scale):
        node = make_node("face", "img2pose", {"weights": folder, "preprocessing": mode})
        node.input = replace(node.input, side_limits=(96, 200))
        node.load()
        found = run(node, Batch(frames(image, scale=scale), min_score=0.2))
        assert len(found) > 0
        return found

    return detect, weights


def test_img2pose_agrees_with_itself_and_its_camera(img2pose):
    """The template, placed by the pose in img2pose's camera, is seen where the points are."""
    detect, _ = img2pose
    image, scale = noise(72, 96, 4), 0.5  # seen at 96 x 128 pixels, so that nothing is rounded
    found = detect("trained", image, scale)
    height, width = (side / scale for side in image.shape[:2])
    pose = found.fields["pose"].astype(np.float64)
    turned = np.einsum("nij,pj->npi", rotation_from_angles(*pose[:, :3].T), FACE68_CM)
    # Back to the camera of the network, whose focal length is width plus height.
    place = turned + (pose[:, 3:] * [1, 1, -(width + height) / width])[:, None]
    assert (pose[:, 5] > 0).all()
    focal = width + height
    seen = place[..., :2] / -place[..., 2:] * [focal, -focal] + [width / 2, height / 2]
    eyes = [seen[:, 36:42].mean(1), seen[:, 42:48].mean(1)]
    five = np.stack([*eyes, seen[:, 30], seen[:, 48], seen[:, 54]], 1)
    np.testing.assert_allclose(found.points5, five, atol=0.02)
    assert np.ptp(five[:, :, 0]) > 20
    x0, _, x1, _ = found.box.T
    assert ((five[..., 0] > x0[:, None]) & (five[..., 0] < x1[:, None])).mean() > 0.5


def test_centimetres_keep_place_and_size_as_seen():
    height, width = 300, 400
    unit, x, y, z = 0.1, 1.5, -0.7, 12.0  # decimetres, y down
    (found,) = centimetres(np.array([[x, y, z]]), (height, width), TEMPLATE)
    there, here = width + height, width
    # x to the right in both cameras; y is up in featflow's.
    assert here * found[0] / found[2] == pytest.approx(there * x / z)
    assert here * found[1] / found[2] == pytest.approx(-there * y / z)
    assert here / found[2] == pytest.approx(there / z * unit)  # pixels per centimetre


def test_img2pose_reference_keeps_the_published_numbers(img2pose, lay):
    from featflow.nodes.networks.img2pose_decode import Img2PoseConfig, img2pose_faces

    detect, weights = img2pose
    image = noise(72, 100, 4)
    found = detect("reference", image, 0.5)
    resized = cv2.resize(
        imagenet(image.astype(np.float64)), (133, 96), interpolation=cv2.INTER_LINEAR
    )
    with torch.inference_mode():
        regions, scores, poses = (
            p[0].numpy() for p in bare("face/img2pose", weights)(nchw(resized))
        )
    config = Img2PoseConfig.from_json(COMPANIONS["face/img2pose"])
    boxes, sure, pose = img2pose_faces(regions, scores, poses, (96, 133), config, 0.2, euler=True)
    assert len(sure) == len(found)
    order = np.argsort(-sure, kind="stable")
    back = np.array([100 / 133, 72 / 96] * 2) / 0.5
    np.testing.assert_allclose(found.score, sure[order], atol=1e-4)
    np.testing.assert_allclose(found.box, boxes[order] * back, atol=0.1)
    np.testing.assert_allclose(found.fields["pose"], pose[order], atol=1e-3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((720, 1280), (400, 711)), ((100, 400), (350, 1400)), ((400, 400), (400, 400))],
)
def test_img2pose_sees_pictures_of_limited_size(size, expected):
    assert limited_size(size, (400, 1400)) == expected
    assert limited_size(size, None) == size


def test_img2pose_sees_pictures_of_the_size_that_its_file_says(tmp_path):
    node = make_node("face", "img2pose")
    (tmp_path / "config.json").write_text(json.dumps(COMPANIONS["face/img2pose"]))
    node.configure([tmp_path / "config.json"])
    assert node.input.side_limits == (400, 1400)  # where it says nothing
    sized = {**COMPANIONS["face/img2pose"], "min_size": 320, "max_size": 900}
    (tmp_path / "config.json").write_text(json.dumps(sized))
    node.configure([tmp_path / "config.json"])
    assert node.input.side_limits == (320, 900)


@pytest.mark.parametrize("node", sorted(LAYOUTS))
def test_the_card_tells_the_bytes_of_the_layout(node, expectation):
    layout = expectation(LAYOUTS[node]).layout
    wide = {k: 8 if k.endswith("num_batches_tracked") else 4 for k in layout}
    assert card_of(node).source.tensor_bytes == sum(
        prod(shape) * wide[key] for key, shape in layout.items()
    )
    assert get_node_class(*node.split("/")).layout == LAYOUTS[node]


@pytest.mark.parametrize("node", sorted(LAYOUTS))
def test_nodes_conform(lay, node):
    """The heavy ones take a minute: FEATFLOW_ALL_CHECKS=1 runs them too."""
    if node in HEAVY and not ALL_CHECKS:
        pytest.skip("a network of many operations: set FEATFLOW_ALL_CHECKS=1")
    folder, _ = lay(node)
    assert check_node(make_node(*node.split("/"), {"weights": folder})).node == node


def test_weights_of_another_network_are_refused(lay, tmp_path):
    folder, _ = lay("landmark/pfld")
    (path,) = folder.iterdir()
    node = make_node("landmark", "mobilefacenet", {"weights": path})
    with pytest.raises(
        WeightsError, match=r"pfld_model_best.*'conv1.conv.weight'.* is missing|key"
    ):
        node.load()
    assert node._model is None
    assert node.weights_hash() == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: w.pop("fc.bias"), "key 'fc.bias' of the network is missing"),
        (lambda w: w.update(more=torch.zeros(2)), "key 'more' is not in the network"),
        (lambda w: w.update({"fc.bias": torch.zeros(3)}), r"'fc.bias' has shape \(3,\)"),
        (lambda w: w.update({"fc.bias": torch.full((136,), torch.nan)}), "not finite"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(lay, tmp_path, change, told):
    _, weights = lay("landmark/pfld")
    changed = dict(weights)
    change(changed)
    path = tmp_path / "changed.pth"
    torch.save(changed, path)
    with pytest.raises(WeightsError, match=f"changed.pth: .*{told}"):
        make_node("landmark", "pfld", {"weights": path}).load()


def test_double_precision_and_absent_counters_are_no_error(lay, tmp_path):
    folder, weights = lay("landmark/pfld")
    stored = {k: v.double() for k, v in weights.items() if "num_batches_tracked" not in k}
    path = tmp_path / "double.pth"
    torch.save(stored, path)
    batch = Batch(
        frames(noise(120, 120)),
        FaceBatch(np.zeros(1, np.int64), {"box": np.array([[10.0, 10.0, 100.0, 100.0]])}),
    )
    one, two = (run(make_node("landmark", "pfld", {"weights": w}), batch) for w in (folder, path))
    np.testing.assert_array_equal(one["landmarks"], two["landmarks"])


def test_one_of_two_names_of_a_tensor_is_enough(expectation):
    with torch.device("meta"):
        model = network("mobilenet_gdconv")
    weights = expectation("mobilenet_gdconv").weights()
    halved = {k: v for k, v in weights.items() if not k.startswith("base_net")}
    assert len(halved) < len(weights)
    full = completed(model, halved)
    assert full.keys() == weights.keys()
    assert torch.equal(full["base_net.0.0.0.weight"], halved["pretrain_net.features.0.0.weight"])


def test_the_hash_is_that_of_the_loaded_file(lay):
    import hashlib

    folder, _ = lay("pose/pose_mlp")
    node = make_node("pose", "pose_mlp", {"weights": folder})
    node.load()
    content = (folder / "pose_mlp_v2.safetensors").read_bytes()
    assert node.weights_hash() == hashlib.sha256(content).hexdigest()
    node.unload()
    assert node._model is None


def test_a_companion_that_is_broken_or_absent_is_named(lay, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEATFLOW_OFFLINE", "1")
    folder, _ = lay("pose/pose_mlp")
    copy = tmp_path / "copy"
    copy.mkdir()
    weights = copy / "pose_mlp_v2.safetensors"
    weights.write_bytes((folder / weights.name).read_bytes())
    with pytest.raises(WeightsError, match=r"pose_mlp_v2.json of py-feat/pose_mlp_v2 is not here"):
        make_node("pose", "pose_mlp", {"weights": weights}).load()
    for text in ("{", "[]", "{}", '{"architecture": {"output_normalization": {"mean": [1]}}}'):
        (copy / "pose_mlp_v2.json").write_text(text)
        with pytest.raises(WeightsError, match=r"pose_mlp_v2\.json"):
            make_node("pose", "pose_mlp", {"weights": weights}).load()


def test_unknown_preprocessing_is_refused():
    with pytest.raises(OptionError, match="landmark/pfld: .*'trained' or 'reference', got 'x'"):
        make_node("landmark", "pfld", {"preprocessing": "x"})
    with pytest.raises(OptionError, match="nms_iou"):
        make_node("face", "retinaface", {"nms_iou": 0})


@pytest.mark.parametrize("node", ["emotion/resmasknet", "identity/arcface", "gaze/l2cs"])
def test_bfloat16_moves_values_in_the_third_digit_at_most(lay, node, monkeypatch):
    if node == "emotion/resmasknet" and not ALL_CHECKS:
        pytest.skip("half a gigabyte of weights; FEATFLOW_ALL_CHECKS=1 runs it")
    folder, _ = lay(node)
    image = noise(128, 160, 4)
    fields = {
        "box": np.array([[30.0, 20, 110, 100], [50, 30, 120, 110]]),
        "points5": np.array([[[50, 45], [90, 45], [70, 62], [55, 80], [85, 80]]] * 2, float),
    }
    faces = FaceBatch(np.zeros(2, np.int64), fields)
    found = []
    for bf16 in (False, True):
        made = make_node(*node.split("/"), {"weights": folder, "bf16": bf16})
        made.load()
        assert next(made.model.parameters()).dtype == (torch.bfloat16 if bf16 else torch.float32)
        (values,) = run(made, Batch(frames(image), faces)).values()
        assert values.dtype == np.float32
        found.append(values)
    exact, rough = found
    assert (exact != rough).any()
    if node == "identity/arcface":
        lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rough, axis=1)
        assert ((exact * rough).sum(1) / lengths > 0.999).all()
    else:
        np.testing.assert_allclose(rough, exact, atol=0.02)


def test_points_are_not_computed_in_bfloat16():
    with pytest.raises(OptionError, match="landmark/pfld: bf16 would move points"):
        make_node("landmark", "pfld", {"bf16": True})
    with pytest.raises(OptionError, match="bf16"):
        make_node("face", "retinaface", {"bf16": True})
