"""The pipeline around the networks, with stand-ins whose output is known."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from featflow.animate import tha3
from featflow.animate.pose import pack
from featflow.animate.tha3.animator import StageCache, Tha3Animator, to_image, to_tensor
from featflow.animate.tha3.weights import load_networks
from featflow.errors import MissingInputError, OptionError, WeightsError


class Part(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.calls, self.inputs = function, 0, None

    def forward(self, *inputs):
        self.calls += 1
        self.inputs = inputs
        return self.function(*inputs)


class Face(Part):
    """Face morpher: paints 16 pixels of its crop in the value of mouth_aaa."""

    def __init__(self):
        super().__init__(None)

    def encode(self, image):
        return image.mean((2, 3))

    def morph(self, image, code, pose):
        self.calls += 1
        image = image.clone()
        image[:, :, 100:104, 90:94] = pose[:, 26 - 12].view(-1, 1, 1, 1)
        return [image]


def parts():
    def combine(behind, brows, pose):
        image = behind.clone()
        image[:, :, 10:12, 20:22] = pose[:, 3].view(-1, 1, 1, 1)
        return [None, None, image]

    return {
        "eyebrow_decomposer": Part(lambda image: [image, None, None, image]),
        "eyebrow_morphing_combiner": Part(combine),
        "face_morpher": Face(),
        "two_algo_face_body_rotator": Part(lambda image, pose: [None, image, image[:, :2] * 0]),
        "editor": Part(lambda image, turned, change, pose: [image]),
    }


@pytest.fixture
def made(cutout):
    networks = parts()
    animator = Tha3Animator(networks, cache_bytes=10**8)
    animator.set_image(cutout)
    return animator, networks


def render(animator, **pose):
    out = np.empty((512, 512, 4), np.uint8)
    animator.render(pack(pose)[0], out)
    return out


def test_a_still_survives_the_colour_space_there_and_back(still):
    ramp = np.zeros((16, 16, 4), np.uint8)
    ramp[..., 0] = np.arange(256).reshape(16, 16)
    ramp[..., 3] = 255
    np.testing.assert_array_equal(to_image(to_tensor(ramp)), ramp)
    np.testing.assert_array_equal(to_image(to_tensor(still)), still)


def test_the_tensor_is_linear_rgba_with_nothing_where_invisible():
    pixel = np.array([[[10, 20, 188, 255], [9, 9, 9, 0]]], np.uint8)
    tensor = to_tensor(pixel)[0, :, 0]
    assert tensor[0, 0] == pytest.approx(2 * ((188 / 255 + 0.055) / 1.055) ** 2.4 - 1, abs=1e-6)
    assert tensor[2, 0] == pytest.approx(2 * 10 / 255 / 12.92 - 1, abs=1e-6)
    assert tensor[:, 1].tolist() == [-1, -1, -1, -1]


def test_crops_lie_where_the_published_pipeline_has_them(made, cutout):
    animator, networks = made
    rest = render(animator, eyebrow_angry_right=0.5, mouth_aaa=0.25)
    seen = cutout.copy()
    seen[seen[..., 3] == 0] = 0
    changed = np.argwhere((rest != seen).any(-1))
    brow = {(64 + r, 192 + c) for r in (10, 11) for c in (20, 21)}
    mouth = {(32 + r, 160 + c) for r in range(100, 104) for c in range(90, 94)}
    assert set(map(tuple, changed.tolist())) == brow | mouth
    assert networks["two_algo_face_body_rotator"].inputs[0].shape == (1, 4, 256, 256)
    assert [t.shape[-1] for t in networks["editor"].inputs] == [512, 512, 512, 6]


def test_stages_run_only_when_their_part_of_the_pose_changes(made):
    animator, networks = made
    calls = lambda: [networks[p].calls for p in tha3.PARTS]  # noqa: E731
    render(animator, eyebrow_angry_left=0.5)
    assert calls() == [1, 1, 1, 1, 1]
    render(animator, eyebrow_angry_left=0.5, head_y=1)
    assert calls() == [1, 1, 1, 2, 2]
    render(animator, eyebrow_angry_left=0.5, mouth_aaa=1)
    assert calls() == [1, 1, 2, 3, 3]
    render(animator, mouth_aaa=1)
    assert calls() == [1, 2, 3, 4, 4]
    assert animator.stage_counts() == {"eyebrow": (1, 2), "face": (1, 3)}


def test_the_rotator_hears_of_the_last_six_parameters(made):
    animator, networks = made
    render(animator, head_x=0.1, head_y=0.2, neck_z=0.3, body_y=0.4, body_z=0.5, breathing=0.6)
    heard = networks["two_algo_face_body_rotator"].inputs[1][0].tolist()
    assert heard == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_another_still_forgets_the_stages(made, cutout):
    animator, _ = made
    first = render(animator, mouth_aaa=0.5)
    other = cutout.copy()
    other[..., :3] = 255 - other[..., :3]
    animator.set_image(other)
    assert (render(animator, mouth_aaa=0.5) != first).any()
    assert animator.stage_counts()["face"] == (0, 2)


def test_a_stage_cache_stays_within_its_limit():
    cache = StageCache(1000)
    for i in range(20):
        cache.get(bytes([i]), lambda: (torch.zeros(60),))
        assert cache.nbytes <= 1000
    cache.get(bytes([19]), lambda: pytest.fail("was there"))
    assert (cache.hits, cache.misses) == (1, 20)
    cache.get(b"large", lambda: (torch.zeros(1000),))
    assert cache.nbytes <= 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for part in tha3.PARTS:
        state = tha3.network(f"tha3_separable_{part}").state_dict()
        if part == "editor":
            save_file({k: v.half() for k, v in state.items()}, folder / f"{part}.safetensors")
        else:
            torch.save(state, folder / f"{part}.pt")
    return folder


def test_a_users_folder_runs_and_its_bytes_decide_the_fingerprint(folder, still):
    networks = load_networks(folder, separable=True)
    animator = Tha3Animator(networks)
    animator.set_image(still)
    frame = render(animator, head_y=1)
    assert frame.shape == (512, 512, 4)
    assert frame.std() > 1
    assert animator.fingerprint == Tha3Animator(load_networks(folder, separable=True)).fingerprint


def test_wrong_missing_and_damaged_weights_are_refused_by_name(folder, tmp_path):
    with pytest.raises(WeightsError, match=r"eyebrow_decomposer\.pt.*key"):
        load_networks(folder, separable=False)
    with pytest.raises(MissingInputError, match="eyebrow_decomposer"):
        load_networks(tmp_path, separable=True)
    with pytest.raises(MissingInputError, match="no folder"):
        load_networks(tmp_path / "none", separable=True)
    (tmp_path / "eyebrow_decomposer.pt").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_networks(tmp_path, separable=True)


def test_code_hidden_in_a_pt_file_does_not_run(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    (tmp_path / "eyebrow_decomposer.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError):
        load_networks(tmp_path, separable=True)
    assert not (tmp_path / "ran").exists()


def test_get_core_runs_a_users_weights_and_says_what_it_goes_without(folder, caplog):
    from featflow.animate import interface
    from featflow.animate.interface import get_core

    interface._shown.clear()
    with pytest.warns(UserWarning, match="TensorRT"):
        core = get_core(tha3_weights=folder, device_id=63)
    with pytest.warns(UserWarning, match="TensorRT"):
        get_core(tha3_weights=folder, device_id=63)
    assert core.info["backend"] == "tha3"
    assert core.info["device"] == "cpu"
    assert core.info["precision"] == "float32"
    assert set(core.info["ignored"]) == {"use_tensorrt", "device_id", "model_half"}
    assert sum("CC-BY 4.0" in r.message for r in caplog.records) == 1
    with pytest.raises(OptionError, match="GPU 63"):
        get_core(tha3_weights=folder, device_id=63, strict=True)
