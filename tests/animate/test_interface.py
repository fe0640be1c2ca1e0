import inspect
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest

from featflow.animate import get_core
from featflow.animate.interface import get_core as get_core_itself
from featflow.animate.pose import neutral, pack
from featflow.animate.rig import Rig
from featflow.animate.still import fit_still, read_still
from featflow.datasets import sample_photo
from featflow.errors import (
    ArrayError,
    FeatflowError,
    ImageError,
    MissingInputError,
    OptionError,
)

DOCUMENTED = {
    "device_id": 0,
    "use_tensorrt": True,
    "model_seperable": True,
    "model_half": True,
    "model_cache": True,
    "model_vram_cache": True,
    "model_cache_size": 1,
    "use_cacher": True,
    "cacher_on_database": False,
    "cacher_quality": 85,
    "cacher_ram_size": 2,
    "cacher_db_path": "./cacher.sqlite",
    "use_interpolation": True,
    "interpolation_scale": 2,
    "interpolation_half": True,
    "use_sr": False,
    "sr_x4": True,
    "sr_half": True,
    "sr_noise": 1,
}


def quiet(**options):
    return get_core(use_tensorrt=False, **options)


def test_the_signature_is_the_documented_one():
    parameters = inspect.signature(get_core_itself).parameters.values()
    documented = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert {p.name: p.default for p in documented} == DOCUMENTED
    assert [p.name for p in documented] == list(DOCUMENTED)


# The example of the published document, without its import.
EXAMPLE = """
core = get_core(
    device_id = 1,
    model_seperable = True,
    model_half = True,
    interpolation_scale = 4,
    interpolation_half = True,
    cacher_ram_size = 8
)
img = cv2.imread('img1.png', cv2.IMREAD_UNCHANGED)
core.setImage(img)
while True: #Eventloop here
    pose_param = pipe.get(blocking=True)
    ret = core.inference(pose_param)
    for ret_img in ret:
        cv2.imwrite('result.png',ret_img) #imwrite just for example
"""


class Pipe:
    """Gives poses, then ends the loop."""

    def __init__(self, *poses):
        self.poses = list(poses)

    def get(self, blocking):
        if not self.poses:
            raise KeyboardInterrupt
        return self.poses.pop(0)


def test_the_documents_example_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo = read_still(sample_photo())[:512, :512]
    cv2.imwrite("img1.png", photo)
    names = {"get_core": get_core, "cv2": cv2, "np": np}
    names["pipe"] = Pipe(pack({"head_y": 0.5}), neutral())
    with pytest.warns(UserWarning, match="TensorRT") as caught, pytest.raises(KeyboardInterrupt):
        exec(compile(EXAMPLE, "document", "exec"), names)
    assert len([w for w in caught if "goes on without" in str(w.message)]) == 1
    core, ret = names["core"], names["ret"]
    assert set(core.info["ignored"]) == {"use_tensorrt", "device_id"}
    assert [(f.shape, f.dtype) for f in ret] == [((512, 512, 4), np.uint8)] * 4
    np.testing.assert_array_equal(ret[-1], photo)  # the last pose is rest
    assert (ret[0] != photo).any()  # a quarter of the way from the turn
    np.testing.assert_array_equal(cv2.imread("result.png", cv2.IMREAD_UNCHANGED), photo)
    assert list(tmp_path.glob("*.sqlite")) == []


def test_what_is_missing_is_said_once_and_strict_raises(rig, still):
    with pytest.warns(UserWarning, match="TensorRT") as caught:
        core = get_core(rig=rig)
    assert len(caught) == 1
    core.set_image(still)
    assert core.info["backend"] == "mesh-warp"
    assert core.info["device"] == "cpu"
    assert list(core.info["ignored"]) == ["use_tensorrt"]
    with pytest.raises(OptionError, match="TensorRT"):
        get_core(rig=rig, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert quiet(rig=rig, strict=True).info["ignored"] == {}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"interpolation_scale": 5}, "2, 3 or 4"),
        ({"cacher_quality": 101}, "cacher_quality"),
        ({"cacher_ram_size": -1}, "cacher_ram_size"),
        ({"interpolator": "magic"}, "interpolator"),
        ({"interpolator": 3}, "interpolator"),
        ({"device_id": -1}, "device_id"),
        ({"device_id": "x"}, "device_id"),
        ({"rig": np.zeros((5, 2))}, "68 landmarks"),
        ({"rife_weights": "/etc/passwd"}, "cannot be read as weights"),
        ({"cacher_on_database": True, "cacher_db_path": "/no/such/f.sqlite"}, "check the folder"),
        ({"tha3_weights": "/no/such"}, "THA3"),
        ({"rig": "/no/such.json"}, "no such rig"),
    ],
)
def test_bad_arguments_are_refused(options, match):
    with pytest.raises(FeatflowError, match=match):
        quiet(**options)


def test_what_means_nothing_to_the_default_animator_is_named(rig):
    with pytest.warns(UserWarning, match="without tha3_weights"):
        core = quiet(rig=rig, device_id=2, model_seperable=False)
    assert set(core.info["ignored"]) == {"device_id", "model_seperable"}
    with pytest.raises(OptionError, match="device_id"):
        quiet(rig=rig, device_id=2, strict=True)


def test_unknown_arguments_are_errors():
    with pytest.raises(TypeError):
        quiet(cacher_qualty=3)


def test_options_reach_the_parts(rig, still, landmarks):
    core = quiet(rig=landmarks, cacher_quality=100, interpolation_scale=3, use_sr=True, sr_x4=False)
    core.set_image(still)
    frames = core.inference(pack({"head_y": 0.3}))
    assert [f.shape for f in frames] == [(1024, 1024, 4)] * 3
    assert core.info["cacher"] == "raw"
    assert core.info["interpolation"] == "pose"
    assert core.info["upscaling"] == "lanczos"
    plain = quiet(rig=rig, use_cacher=False, use_interpolation=False)
    plain.set_image(still)
    assert len(plain.inference(neutral())) == 1
    assert plain.stats().cache is None


def test_a_database_serves_the_frames_of_an_earlier_process(rig, still, tmp_path):
    rig.save(tmp_path / "rig.json")
    cv2.imwrite(str(tmp_path / "still.png"), still)
    code = """
import sys, cv2
from featflow.animate import get_core, pack
folder = sys.argv[1]
core = get_core(use_tensorrt=False, rig=folder + "/rig.json", cacher_on_database=True,
                cacher_db_path=folder + "/frames.sqlite", use_interpolation=False)
core.setImage(cv2.imread(folder + "/still.png", cv2.IMREAD_UNCHANGED))
frame = core.inference(pack({"head_y": 0.5, "mouth_aaa": -0.0}))[0]
print(core.stats().cache.hits, core.stats().drawn, frame.sum())
core.close()
"""
    runs = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout.split()
        for _ in range(2)
    ]
    assert runs[0][:2] == ["0", "1"]
    assert runs[1][:2] == ["1", "0"]
    assert runs[0][2] == runs[1][2]


def test_a_rig_of_another_size_is_refused(landmarks, still):
    core = quiet(rig=Rig(landmarks, (600, 512)))
    with pytest.raises(FeatflowError, match="600 x 512"):
        core.set_image(still)


def test_importing_the_core_loads_neither_torch_nor_pandas():
    code = (
        "import sys, featflow.animate.interface, featflow.animate.puppet;"
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_still_is_cut_around_the_face_and_points_stay_on_it():
    image = np.zeros((700, 900, 4), np.uint8)
    image[..., 3] = 255
    points = np.tile(np.array([600.0, 300.0]), (68, 1))
    points[36], points[45] = (560, 300), (640, 300)
    image[296:304, 636:644, :3] = 255  # a mark around landmark 45
    square, moved = fit_still(image, points)
    assert square.shape == (512, 512, 4)
    y, x = np.nonzero(square[..., 0] > 127)
    assert (x.mean() + 0.5, y.mean() + 0.5) == pytest.approx(tuple(moved[45]), abs=0.1)
    assert np.linalg.norm(moved[45] - moved[36]) == pytest.approx(512 / 4)


def test_shrinking_averages_and_keeps_points_too():
    image = np.zeros((2000, 1600, 4), np.uint8)
    image[..., 3] = 255
    points = np.tile(np.array([800.0, 900.0]), (68, 1))
    points[36], points[45] = (600, 900), (1000, 900)
    image[880:920, 980:1020, :3] = 255
    square, moved = fit_still(image, points)
    y, x = np.nonzero(square[..., 0] > 127)
    assert (x.mean() + 0.5, y.mean() + 0.5) == pytest.approx(tuple(moved[45]), abs=0.3)


def test_reading_a_still(tmp_path, cutout):
    cv2.imwrite(str(tmp_path / "a.png"), cutout)
    np.testing.assert_array_equal(read_still(tmp_path / "a.png"), cutout)
    with pytest.raises(MissingInputError):
        read_still(tmp_path / "none.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match="b.png"):
        read_still(tmp_path / "b.png")
    with pytest.raises(ArrayError, match="read_still"):
        fit_still(np.zeros((10, 10, 3), np.uint8))
