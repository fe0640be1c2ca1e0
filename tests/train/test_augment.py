import cv2
import numpy as np
import pytest
import torch

from featflow.errors import ArrayError, OptionError
from featflow.geometry.landmarks import MIRROR_68
from featflow.testing.face68 import FACE68_CM
from featflow.train import warping
from featflow.train.augment import AugmentOptions, ImageAugmentation, NearLandmarks, Share
from featflow.train.clahe import clahe
from featflow.train.colour import lab_to_rgb, rgb_to_lab

SIZE = 96
STILL = {
    "lightness": 0.0,
    "colour": 0.0,
    "clahe_chance": 0.0,
    "rotation": 0.0,
    "zoom": 0.0,
    "shift": 0.0,
    "flip": 0.0,
    "warp": 0.0,
    "landmark_noise": 0.0,
}

GOLDEN = [
    [0.5547, 0.6119, 0.5456, 0.5863, 0.532, 0.5711, 0.5737, 0.4192, 0.4097, 0.5746, 0.4873, 0.5273],
    [0.5622, 0.6123, 0.5213, 0.5915, 0.5258, 0.5715, 0.5415, 0.4088, 0.4372, 0.569, 0.4798, 0.5327],
]
GOLDEN_CHIN = [[53.237, 81.14], [40.849, 84.206]]


def augmentation(seed=0, size=SIZE, **changes):
    return ImageAugmentation(AugmentOptions.from_config(size, {**STILL, **changes}), seed)


def face(count=4):
    points = FACE68_CM[:, :2] * [4.0, -4.0] + [SIZE / 2, SIZE / 2]
    return torch.from_numpy(points).float().expand(count, -1, -1).clone()


def photos(count=4, size=SIZE):
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (count, 8, 8, 3)).astype(np.float32)
    smooth = [cv2.resize(c, (size, size), interpolation=cv2.INTER_CUBIC) for c in coarse]
    return torch.from_numpy(np.clip(smooth, 0, 255).astype(np.uint8))


def marked(points, which):
    """Black crops with a bright spot of three pixels at one point of each."""
    centres = torch.arange(SIZE) + 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    at = points[:, which]
    distance = (x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2
    spot = (255 * torch.exp(-distance / 8)).byte()
    return spot[..., None].expand(-1, -1, -1, 3).contiguous()


def found(pictures):
    """Centre of mass of each bright spot, (N, 2) pixels."""
    weight = pictures.mean(1) ** 2
    centres = torch.arange(SIZE) + 0.5
    total = weight.sum((1, 2))
    x = (weight.sum(1) * centres).sum(1) / total
    y = (weight.sum(2) * centres).sum(1) / total
    return torch.stack([x, y], -1)


@pytest.mark.parametrize(
    ("size", "tiles", "warp", "noise", "shift"),
    [(64, 2, 1.25, 0.5, 3.2), (256, 2, 5.0, 2.0, 12.8), (512, 4, 10.0, 4.0, 25.6)],
)
def test_defaults_follow_the_size(size, tiles, warp, noise, shift):
    options = AugmentOptions.from_config(size)
    got = (options.clahe_tiles, options.warp, options.landmark_noise, options.shift)
    assert got == pytest.approx((tiles, warp, noise, shift))
    assert (options.lightness, options.colour, options.clahe_chance) == (0.3, 0.08, 0.5)
    assert (options.clahe_clip, options.clahe_more, options.warp_cells) == (2.0, 4, 4)
    assert (options.rotation, options.zoom, options.flip) == (10.0, 0.05, 0.5)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"flipp": 0.5}, "flipp"),
        ({"size": 3}, "size"),
        ({"flip": 1.5}, "flip"),
        ({"rotation": -1}, "rotation"),
        ({"warp": float("nan")}, "warp"),
        ({"clahe_more": 1.5}, "clahe_more"),
        ({"zoom": "much"}, "zoom"),
        ({"clahe_tiles": 20}, "tiles"),
    ],
)
def test_bad_options_are_named(config, named):
    with pytest.raises(OptionError, match=named):
        AugmentOptions.from_config(64, config)


def test_nothing_chosen_changes_nothing():
    images = photos()
    masks = (255 * torch.rand(4, 2, SIZE, SIZE)).byte()
    out = augmentation()(images, masks, face())
    wanted = images.permute(0, 3, 1, 2) / 255
    assert torch.allclose(out.targets, wanted, atol=1 / 255)
    assert torch.allclose(out.inputs, wanted, atol=1 / 255)
    assert torch.allclose(out.masks, masks / 255, atol=1e-4)
    assert torch.allclose(out.points, face(), atol=1e-4)


def test_equal_seeds_give_equal_batches_and_others_do_not():
    images = photos()
    everything = AugmentOptions.from_config(SIZE)
    one, same, other = (ImageAugmentation(everything, seed)(images) for seed in (3, 3, 4))
    assert torch.equal(one.inputs, same.inputs)
    assert torch.equal(one.targets, same.targets)
    assert not torch.allclose(one.inputs, other.inputs, atol=0.05)
    state = torch.get_rng_state()
    ImageAugmentation(everything, 3)(images)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_same_seed_gives_what_it_gave_when_this_was_written():
    """Means of patches; a change of the order of draws, of a range or of a sign moves them."""
    step = ImageAugmentation(AugmentOptions.from_config(SIZE), 11)
    out = step(photos(2), None, face(2))
    patches = torch.nn.functional.avg_pool2d(torch.stack([out.inputs[1], out.targets[1]]), 48)
    assert patches.flatten(1).numpy() == pytest.approx(np.array(GOLDEN), abs=2e-3)
    assert out.points[:, 8].numpy() == pytest.approx(np.array(GOLDEN_CHIN), abs=1e-2)


def test_processes_together_draw_as_one():
    images, points = photos(6), face(6)
    near = points * 1.05 - 2
    everything = AugmentOptions.from_config(SIZE)
    for nearby in (None, near):
        whole = ImageAugmentation(everything, 3)(images, None, points, nearby)
        for rank in range(2):
            own = slice(rank, None, 2)
            part = ImageAugmentation(everything, 3, share=Share(rank, 2))
            got = part(images[own], None, points[own], None if nearby is None else nearby[own])
            assert torch.allclose(got.inputs, whole.inputs[own], atol=1e-6)
            assert torch.allclose(got.targets, whole.targets[own], atol=1e-6)
            assert torch.allclose(got.points, whole.points[own], atol=1e-4)
    matcher = NearLandmarks(points, 96 * torch.rand(30, 68, 2))
    chance = (torch.Generator().manual_seed(1) for _ in range(3))
    rows = torch.arange(6)
    whole = matcher.draw(rows, next(chance))
    for rank in range(2):
        assert torch.equal(
            matcher.draw(rows[rank::2], next(chance), Share(rank, 2)), whole[rank::2]
        )


def test_bytes_become_floats_from_nothing_to_one():
    ends = torch.tensor([0, 255, 51]).byte()[:, None, None, None].expand(-1, SIZE, SIZE, 3)
    out = augmentation()(ends.contiguous())
    for row, wanted in enumerate((0.0, 1.0, 0.2)):
        assert torch.allclose(out.targets[row], torch.tensor(wanted), atol=1e-6)
        assert torch.allclose(out.inputs[row], torch.tensor(wanted), atol=1e-6)


@pytest.mark.parametrize("which", [8, 30, 36, 54])
@pytest.mark.parametrize("warps", [False, True])
def test_picture_mask_and_points_move_together(which, warps):
    points = face(8)
    images = marked(points, which)
    partner = MIRROR_68[which]
    masks = images[..., 0][:, None].contiguous()
    step = augmentation(5, rotation=10.0, zoom=0.05, shift=4.0, flip=0.5, warp=2.0 * warps)
    out = step(images, masks, points)
    flipped = (out.points[:, 36, 0] - out.points[:, 45, 0]) > 0
    assert not flipped.any(), "left and right were not swapped"
    targets = found(out.targets)
    # A mirrored face shows the point under the name of its partner.
    errors = (targets - out.points[:, which]).norm(dim=-1)
    swapped = (targets - out.points[:, partner]).norm(dim=-1)
    assert (torch.minimum(errors, swapped) < 1).all()
    assert (found(out.masks.expand(-1, 3, -1, -1)) - targets).norm(dim=-1).max() < 0.5
    if which != partner:
        assert 0 < int((errors < 1).sum()) < 8, "none or all were mirrored"
    seen = warping.follow_points(targets[:, None], out.field)[:, 0]
    assert (found(out.inputs) - seen).norm(dim=-1).max() < 1
    moved = (found(out.inputs) - targets).norm(dim=-1).max()
    assert moved > 0.3 if warps else moved < 1e-2


def test_the_warp_touches_the_input_only():
    images = photos()
    still, warped = augmentation()(images), augmentation(warp=2.0)(images)
    assert torch.equal(still.targets, warped.targets)
    assert (still.inputs - warped.inputs).abs().max() > 0.05


def test_the_affine_map_has_the_ranges_it_says():
    step = augmentation(rotation=10.0, zoom=0.05, shift=4.8, flip=0.25)
    matrix, flipped = step.transform(4000)
    matrix = torch.where(flipped[:, None, None], matrix * torch.tensor([[-1.0], [1.0]]), matrix)
    angle = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    zoom = matrix[:, 0, :2].norm(dim=-1)
    assert flipped.float().mean().item() == pytest.approx(0.25, abs=0.03)
    for drawn, most in ((angle, 10.0), (zoom - 1, 0.05)):
        assert drawn.abs().max() <= most * 1.0001
        assert drawn.std().item() == pytest.approx(most / 3**0.5, rel=0.05)
    straight = matrix[~flipped]
    centre = warping.carry(straight, torch.full((len(straight), 1, 2), SIZE / 2))[:, 0] - SIZE / 2
    assert centre.abs().max() <= 4.8001
    assert centre.std().item() == pytest.approx(4.8 / 3**0.5, rel=0.05)


def test_the_random_warp_has_the_deviation_it_says_at_its_nodes():
    field = augmentation(warp=3.0).warp(300)
    shift = field - warping.pixel_centres(SIZE)
    corner = shift[:, 0, 0]  # half a pixel from a node
    assert corner.std().item() == pytest.approx(3.0, rel=0.15)
    assert shift.mean().abs() < 0.2


def test_colours_shift_towards_the_ends_of_lab():
    grey = torch.full((400, 8, 8, 3), 118, dtype=torch.uint8)
    start = rgb_to_lab(torch.full((1, 3, 1, 1), 118 / 255))[0, :, 0, 0]
    tiny = {"size": 8, "clahe_tiles": 1, "clahe_more": 0}
    out = rgb_to_lab(augmentation(lightness=0.3, **tiny).color_adjust(grey))
    change = out[:, 0].mean((1, 2)) - start[0]
    up = 0.3 * (100 - start[0])
    down = 0.3 * start[0]
    assert -down - 0.1 <= change.min() < -0.9 * down
    assert 0.9 * up < change.max() <= up + 0.1
    assert out[:, 1:].abs().max() < 0.2
    out = augmentation(colour=0.08, **tiny).color_adjust(grey)
    hue = rgb_to_lab(out)[:, 1:].mean((2, 3))
    for channel in hue.T:
        assert -0.08 * 128 - 0.2 <= channel.min() < -0.07 * 128
        assert 0.07 * 127 < channel.max() <= 0.08 * 127 + 0.2
    assert abs(np.corrcoef(hue.T.numpy())[0, 1]) < 0.2


def test_contrast_is_equalised_on_lightness_of_the_part_it_says():
    images = photos(40, 32)
    plain = augmentation(size=32).color_adjust(images)
    step = augmentation(1, size=32, clahe_chance=0.5)
    got = step.color_adjust(images)
    changed = (got - plain).abs().amax((1, 2, 3)) > 2 / 255  # more than the tables miss
    assert 10 <= int(changed.sum()) <= 30
    lab = rgb_to_lab(plain)
    row = int(changed.nonzero()[0])
    options = []
    for tiles in range(2, 7):
        one = lab[row : row + 1].clone()
        grey = (one[:, 0] * 2.55).round().clamp(0, 255).byte()
        one[:, 0] = clahe(grey, tiles) / 2.55
        options.append((lab_to_rgb(one)[0] - got[row]).abs().max().item())
    assert min(options) < 2.5e-2  # a pixel may fall into the next of 256 levels


def test_a_picture_is_warped_towards_the_landmarks_of_another():
    points = face(3)
    near = points * 1.06 - 3 + torch.tensor([1.5, -1.0])
    for which in (8, 30, 36, 54):
        out = augmentation()(marked(points, which), None, points, near)
        assert (found(out.inputs) - near[:, which]).norm(dim=-1).max() < 1
        assert (found(out.targets) - points[:, which]).norm(dim=-1).max() < 0.2


def test_near_landmarks_are_carried_and_mirrored_with_the_face():
    points = face(8)
    near = points * 1.05 - 2
    which, partner = 36, 45
    step = augmentation(2, rotation=8.0, shift=3.0, flip=0.5)
    out = step(marked(points, which), None, points, near)
    again = augmentation(2, rotation=8.0, shift=3.0, flip=0.5)
    again.color_adjust(marked(points, which))  # draws from the same chance first
    matrix, flipped = again.transform(8)
    assert 0 < int(flipped.sum()) < 8
    wanted = warping.carry(matrix, near)[:, which]
    assert (found(out.inputs) - wanted).norm(dim=-1).max() < 1
    named = torch.where(flipped[:, None], out.points[:, partner], out.points[:, which])
    assert (found(out.targets) - named).norm(dim=-1).max() < 1


def test_near_landmarks_are_the_true_nearest_of_the_other_side():
    generator = torch.Generator().manual_seed(0)
    own, other = torch.rand(6, 68, 2, generator=generator), torch.rand(40, 68, 2)
    matcher = NearLandmarks(own, other, 10)
    distance = np.linalg.norm(own.numpy()[:, None] - other.numpy()[None], axis=(2, 3))
    for row in range(6):
        allowed = {other[i].numpy().tobytes() for i in np.argsort(distance[row])[:10]}
        drawn = matcher.draw(torch.full((300,), row), generator)
        assert {d.numpy().tobytes() for d in drawn} == allowed
    few = NearLandmarks(own, other[:3]).draw(torch.arange(6), generator)
    assert few.shape == (6, 68, 2)
    for bad in ((own, other[:0], 10), (own, other, 0)):
        with pytest.raises(OptionError):
            NearLandmarks(*bad)


def test_bad_batches_are_refused():
    step, images, points = augmentation(), photos(), face()
    for arguments, named in (
        ((images.float(),), "crops"),
        ((images[:, 1:],), "crops"),
        ((images, torch.zeros(4, SIZE, SIZE)), "masks"),
        ((images, None, points[:, :5]), "points"),
        ((images, None, points, points[:2]), "near"),
        ((images, None, None, points), "near"),
    ):
        with pytest.raises(ArrayError, match=named):
            step(*arguments)
