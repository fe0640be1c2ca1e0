import numpy as np
import pytest
import torch

from featflow.errors import ArrayError, OptionError
from featflow.train.losses import BatchLoss, BatchMasks, LossCollator, make_loss

SIZE = 64


def uniform(error=0.2, count=2):
    target = torch.full((count, 3, SIZE, SIZE), 0.4, dtype=torch.float64)
    return target + error, target


def quarter(row, column, count=2):
    """A mask of one quarter of the picture."""
    mask = torch.zeros(count, 1, SIZE, SIZE, dtype=torch.float64)
    half = SIZE // 2
    mask[..., row * half : (row + 1) * half, column * half : (column + 1) * half] = 1
    return mask


def noisy(seed=0, count=2, size=SIZE):
    rng = np.random.default_rng(seed)
    target = torch.from_numpy(rng.uniform(0.2, 0.8, (count, 3, size, size)))
    return target + 0.05 * torch.from_numpy(rng.standard_normal(target.shape)), target


def run(collator, prediction, target, masks=None, **more):
    sides = None if masks is None else {"A": masks}
    return collator({"A": [prediction]}, {"A": [target]}, sides, **more)


def test_multipliers_mean_what_they_say():
    """Uniform error, a quarter eyes, a quarter mouth: 0.2 * (3 / 4 + 2 / 4 + 1 / 2)."""
    masks = BatchMasks(eyes=quarter(0, 0), mouth=quarter(1, 1))
    for eyes, mouth, wanted in ((3, 2, 0.35), (1, 1, 0.2), (3, 1, 0.3), (1, 2, 0.25), (2, 2, 0.3)):
        collator = LossCollator({"mae": 1.0}, eye_multiplier=eyes, mouth_multiplier=mouth)
        loss = run(collator, *uniform(), masks)
        assert loss.unweighted["A"]["mae"].numpy() == pytest.approx([wanted] * 2)


@pytest.mark.parametrize(
    "name", ["mae", "mse", "ssim", "focal_frequency", "laplacian_pyramid", "l_infinity", "flip"]
)
def test_an_error_in_the_eyes_counts_three_times(name):
    prediction, target = noisy()
    eyes = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.float64)
    eyes[..., 8:56, 8:56] = 1
    inner = torch.zeros_like(eyes)
    inner[..., 28:36, 28:36] = 1
    prediction = torch.where(inner > 0, prediction, target)
    plain = run(LossCollator({name: 1.0}), prediction, target).total
    tripled = run(
        LossCollator({name: 1.0}, eye_multiplier=3), prediction, target, BatchMasks(eyes=eyes)
    ).total
    # Coarse pyramid levels and wide windows spread a little of the error out of the eyes.
    close = 0.1 if name == "laplacian_pyramid" else 1e-6
    assert tripled.item() == pytest.approx(3 * plain.item(), rel=close)


@pytest.mark.parametrize("name", ["gmsd", "ms_ssim"])
def test_losses_without_a_map_add_that_of_the_region(name):
    prediction, target = noisy()
    eyes = quarter(0, 1)
    collator = LossCollator({name: 1.0}, eye_multiplier=3, use_mask=True)
    face = 1 - quarter(1, 0)
    got = run(collator, prediction, target, BatchMasks(face=face, eyes=eyes)).unweighted["A"][name]
    function = collator.functions[name]
    wanted = function(prediction, target, face) + 2 * function(prediction, target, eyes)
    assert torch.allclose(got, wanted)


def test_where_eyes_and_mouth_overlap_the_larger_multiplier_holds():
    prediction, target = uniform()
    left = quarter(0, 0) + quarter(1, 0)
    top = quarter(0, 0) + quarter(0, 1)
    masks = BatchMasks(eyes=left, mouth=top)
    for eyes, mouth, quarters in ((3, 2, 3 + 3 + 2 + 1), (2, 5, 5 + 5 + 2 + 1)):
        collator = LossCollator({"mae": 1.0}, eye_multiplier=eyes, mouth_multiplier=mouth)
        got = run(collator, prediction, target, masks).total
        assert got.item() == pytest.approx(0.2 * quarters / 4)


def test_the_mean_is_over_the_mask_not_over_the_picture():
    prediction, target = uniform()
    for face in (quarter(0, 0), quarter(0, 0) + quarter(1, 1)):
        loss = run(LossCollator({"mae": 1.0}, use_mask=True), prediction, target, BatchMasks(face))
        assert loss.total.item() == pytest.approx(0.2)
    half = torch.where(quarter(0, 0) > 0, prediction, target)
    face = quarter(0, 0) + quarter(0, 1)
    loss = run(LossCollator({"mae": 1.0}, use_mask=True), half, target, BatchMasks(face))
    assert loss.total.item() == pytest.approx(0.1)


def test_soft_masks_weigh():
    prediction, target = noisy()
    face = torch.rand(2, 1, SIZE, SIZE, dtype=torch.float64)
    loss = run(LossCollator({"mse": 1.0}, use_mask=True), prediction, target, BatchMasks(face))
    error = (prediction - target).square().mean(1, keepdim=True)
    wanted = (error * face).sum((1, 2, 3)) / face.sum((1, 2, 3))
    assert torch.allclose(loss.unweighted["A"]["mse"], wanted)


def test_multipliers_work_without_a_face_mask_and_stay_inside_one():
    prediction, target = uniform()
    eyes = quarter(0, 0)
    collator = LossCollator({"mae": 1.0}, eye_multiplier=3, use_mask=True)
    outside = run(collator, prediction, target, BatchMasks(face=quarter(1, 1), eyes=eyes))
    assert outside.total.item() == pytest.approx(0.2)
    inside = run(collator, prediction, target, BatchMasks(face=eyes, eyes=eyes))
    assert inside.total.item() == pytest.approx(0.6)


def test_weights_sides_and_outputs_add_up():
    big, small = noisy(1), noisy(2, size=32)
    other = noisy(3)
    collator = LossCollator({"ssim": 0.5, "mse": 2.0, "mae": 0.0}, smallest_output=32)
    loss = collator(
        {"A": [big[0], small[0]], "B": [other[0]]}, {"A": [big[1], small[1]], "B": [other[1]]}
    )
    ssim, mse, mae = (make_loss(n) for n in ("ssim", "mse", "mae"))
    assert torch.allclose(loss.unweighted["A"]["ssim"], ssim(*big) + ssim(*small))
    assert torch.allclose(loss.unweighted["B"]["mae"], mae(*other))
    assert torch.allclose(loss.weighted["B"]["mse"], 2 * mse(*other))
    assert loss.weighted["B"]["mae"].abs().max() == 0
    wanted = 0.5 * (ssim(*big) + ssim(*small) + ssim(*other))
    wanted = wanted + 2 * (mse(*big) + mse(*small) + mse(*other))
    assert loss.total.item() == pytest.approx(wanted.mean().item())
    assert loss.mask is None


def test_the_learned_mask_is_added_to_the_total():
    prediction, target = uniform(0.0)
    face = quarter(0, 0)
    collator = LossCollator({"mae": 1.0}, mask_loss="mse")
    loss = run(
        collator,
        prediction,
        target,
        BatchMasks(face=face),
        predicted_masks={"A": face + 0.5},
    )
    assert loss.mask["A"].numpy() == pytest.approx([0.25, 0.25])
    assert loss.total.item() == pytest.approx(0.25)


def test_to_cpu_detaches_and_keeps_the_values():
    prediction, target = noisy()
    prediction.requires_grad_()
    collator = LossCollator({"mae": 1.0, "ssim": 1.0}, mask_loss="mae")
    face = quarter(0, 0)
    loss = run(
        collator,
        prediction,
        target,
        BatchMasks(face),
        predicted_masks={"A": (face / 2).requires_grad_()},
    )
    assert loss.total.requires_grad
    kept = loss.to_cpu()
    assert isinstance(kept, BatchLoss)
    for values in (*kept.unweighted.values(), *kept.weighted.values(), kept.mask):
        for value in values.values():
            assert not value.requires_grad
            assert value.device.type == "cpu"
    assert kept.total.item() == pytest.approx(loss.total.item())
    loss.total.backward()
    assert torch.isfinite(prediction.grad).all()


def test_masks_are_fitted_to_each_output_by_area():
    prediction, target = uniform()
    prediction, target = prediction[..., :32, :32], target[..., :32, :32]
    face = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.float64)
    face[..., 1::2] = 1
    fitted = BatchMasks(face=face).at((32, 32)).face
    assert torch.allclose(fitted, torch.full_like(fitted, 0.5))
    collator = LossCollator({"mae": 1.0}, use_mask=True, smallest_output=32)
    assert run(collator, prediction, target, BatchMasks(face)).total.item() == pytest.approx(0.2)


def test_masks_of_some_rows_and_on_a_device():
    masks = BatchMasks(face=torch.arange(3.0)[:, None, None, None], mouth=torch.zeros(3, 1, 1, 1))
    assert masks[1:].face.flatten().tolist() == [1.0, 2.0]
    assert masks[torch.tensor([2, 0])].face.flatten().tolist() == [2.0, 0.0]
    assert masks[1:].eyes is None
    assert masks.to("meta").mouth.device.type == "meta"


def test_multi_scale_ssim_fits_the_smallest_output_and_others_are_refused_at_once():
    assert len(LossCollator({"ms_ssim": 1.0}, smallest_output=64).functions["ms_ssim"].weights) == 4
    with pytest.raises(OptionError, match="laplacian_pyramid needs pictures of 32"):
        LossCollator({"laplacian_pyramid": 1.0}, smallest_output=16)
    made = LossCollator(
        {"laplacian_pyramid": 1.0},
        smallest_output=16,
        options={"laplacian_pyramid": {"levels": 3}},
    )
    assert made.functions["laplacian_pyramid"].levels == 3


def test_missing_masks_are_named():
    prediction, target = uniform()
    for options, missing in (
        ({"use_mask": True}, "face"),
        ({"eye_multiplier": 2}, "eyes"),
        ({"mouth_multiplier": 2}, "mouth"),
    ):
        with pytest.raises(OptionError, match=missing):
            run(LossCollator({"mae": 1.0}, **options), prediction, target)
    learned = LossCollator({"mae": 1.0}, mask_loss="mae")
    with pytest.raises(OptionError, match="predicted_masks"):
        run(learned, prediction, target, BatchMasks(quarter(0, 0)))
    with pytest.raises(OptionError, match="side 'A'"):
        run(learned, prediction, target, predicted_masks={"A": quarter(0, 0)})


def test_sides_and_outputs_must_match():
    prediction, target = uniform()
    collator = LossCollator({"mae": 1.0})
    with pytest.raises(ArrayError, match="sides"):
        collator({"A": [prediction]}, {"B": [target]})
    with pytest.raises(ArrayError, match="1 outputs for 2"):
        collator({"A": [prediction]}, {"A": [target, target]})


@pytest.mark.parametrize(
    ("functions", "options"),
    [
        ({}, {}),
        ({"mae": -1.0}, {}),
        ({"mae": float("nan")}, {}),
        ({"nothing": 1.0}, {}),
        ({"mae": 1.0}, {"eye_multiplier": 0.5}),
        ({"mae": 1.0}, {"mouth_multiplier": float("inf")}),
        ({"mae": 1.0}, {"mask_loss": "ssim"}),
        ({"mae": 1.0}, {"options": {"mse": {}}}),
        ({"mae": 1.0}, {"options": {"mae": {"beta": 1.0}}}),
    ],
)
def test_unusable_options_are_refused(functions, options):
    with pytest.raises(OptionError):
        LossCollator(functions, **options)
