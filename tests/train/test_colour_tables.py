import torch

from featflow.train import colour, colour_tables


def bytes_of_chance():
    images = torch.randint(0, 256, (3, 40, 30, 3), dtype=torch.uint8)
    images[0] = images[0] // 12  # dark ones, where the curves are steep
    return images


def test_tables_say_what_the_formulas_say():
    images = bytes_of_chance()
    exact = colour.rgb_to_lab(images.permute(0, 3, 1, 2).double() / 255)
    lab = colour_tables.bytes_to_lab(images)
    assert (lab[:, 0] - exact[:, 0]).abs().max() < 0.1
    assert (lab - exact).abs().max() < 0.4
    back = colour_tables.lab_to_rgb(lab)
    assert (back * 255 - images.permute(0, 3, 1, 2)).abs().max() < 0.5


def test_colours_beyond_the_screen_are_clipped_as_the_formulas_clip_them():
    shifts = torch.tensor([[10.0, 40, -60], [0, -90, 80], [-30, 20, 120]])[..., None, None]
    lab = colour_tables.bytes_to_lab(bytes_of_chance()) + shifts
    lab = torch.stack([lab[:, 0].clamp(0, 100), *lab[:, 1:].clamp(-128, 127).unbind(1)], 1)
    got, wanted = colour_tables.lab_to_rgb(lab), colour.lab_to_rgb(lab.double())
    assert (got - wanted).abs().max() < 1 / 255
    assert got.min() == 0
    assert got.max() == 1
