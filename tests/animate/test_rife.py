"""No weights of RIFE are at hand, so the layout and the arithmetic around it are what is tested."""

import numpy as np
import pytest
import torch

from featflow.animate import get_core, pack
from featflow.animate.interpolate import Step
from featflow.animate.rife import WIDTHS, IFNet, RifeInterpolator, load_rife, warp
from featflow.errors import MissingInputError, OptionError, WeightsError


def still_network(flow=(0.0, 0.0, 0.0, 0.0), mask=0.0):
    """A network whose first block answers with one flow everywhere; the others add nothing."""
    network = IFNet()
    with torch.no_grad():
        for i in range(len(WIDTHS)):
            last = network.get_submodule(f"block{i}.lastconv.0")
            last.weight.zero_()
            last.bias.zero_()
            # The shuffle spreads four channels over each 2 x 2 pixels of one output channel.
            if i == 0:
                for k, value in enumerate(flow):
                    last.bias[4 * k : 4 * k + 4] = value / 32
            if i == len(WIDTHS) - 1:
                last.bias[16:20] = mask
    return network


def between(network, before, now, scale=2):
    outs = [np.empty_like(before) for _ in range(scale - 1)]
    rest = np.zeros(45, np.float32)
    RifeInterpolator(network, scale).between(Step(rest, rest, before, now, None), outs)
    return outs


def pictures():
    rng = np.random.default_rng(0)
    before = rng.integers(0, 256, (128, 160, 4), dtype=np.uint8)
    before[..., 3] = 255
    return before, np.roll(before, 8, axis=1)


def test_the_network_has_the_published_number_of_parameters():
    count = sum(p.numel() for p in IFNet().parameters())
    assert count / 1e6 == pytest.approx(5.62, abs=0.005)


def test_without_motion_the_mask_blends_the_frames():
    before, now = pictures()
    middle = between(still_network(mask=np.log(3.0)), before, now)[0]
    expected = 0.75 * before.astype(float) + 0.25 * now
    assert np.abs(middle - expected).max() <= 0.51


def test_flow_is_in_pixels_x_first_and_reads_each_frame_where_it_says():
    before, now = pictures()
    # The middle frame stands 4 pixels right of the first and 4 left of the second.
    middle = between(still_network(flow=(-4, 0, 4, 0)), before, now)[0]
    expected = np.roll(before, 4, axis=1)
    assert np.abs(middle[:, 20:-20].astype(int) - expected[:, 20:-20]).max() <= 1


def test_warping_matches_whole_pixel_shifts():
    image = torch.arange(48.0).view(1, 1, 6, 8)
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0], flow[:, 1] = 2, -1
    torch.testing.assert_close(warp(image, flow)[..., 1:, :6], image[..., :-1, 2:])


def test_hidden_colour_does_not_bleed_and_a_static_pair_is_exact():
    before, now = pictures()
    before[:, 80:] = (0, 255, 0, 0)
    before[:, :80] = (0, 0, 255, 255)
    now = np.roll(before, 3, axis=1)
    middle = between(still_network(flow=(-1.5, 0, 1.5, 0)), before, now)[0]
    assert middle[..., 1].max() == 0
    np.testing.assert_array_equal(between(IFNet(), before, before.copy(), 3)[1], before)


def test_files_are_checked(tmp_path):
    network = still_network(flow=(1, 0, 0, 0))
    state = {f"module.{k}": v for k, v in network.state_dict().items()}
    torch.save(state | {"module.teacher.x": torch.zeros(1)}, tmp_path / "flownet.pkl")
    loaded = load_rife(tmp_path / "flownet.pkl").state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in network.state_dict().items())
    torch.save({"module.a": torch.zeros(1)}, tmp_path / "other.pkl")
    with pytest.raises(WeightsError, match="4.25 lite"):
        load_rife(tmp_path / "other.pkl")
    (tmp_path / "bad.pkl").write_bytes(b"x")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_rife(tmp_path / "bad.pkl")
    with pytest.raises(MissingInputError):
        load_rife(tmp_path / "none.pkl")
    with pytest.raises(OptionError):
        RifeInterpolator(network, 5)


def test_get_core_takes_a_weight_file(tmp_path, rig, still):
    torch.save(still_network().state_dict(), tmp_path / "flownet.pkl")
    with pytest.warns(UserWarning, match="interpolation_half"):
        core = get_core(
            use_tensorrt=False, rig=rig, rife_weights=tmp_path / "flownet.pkl", device_id=63
        )
    core.set_image(still)
    assert core.info["interpolation"] == "rife"
    frames = core.inference(pack({"head_y": 0.5}))
    expected = (still.astype(float) + frames[1]) / 2
    assert np.abs(frames[0] - expected).max() <= 1
