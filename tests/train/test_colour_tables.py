import torch

from featflow.train import colour, colour_tables

NOTHING = torch.ones(3, 3), torch.zeros(3, 3)


def bytes_of_chance():
    images = torch.randint(0, 256, (3, 40, 30, 3), dtype=torch.uint8)
    images[0] = images[0] // 12  # dark ones, where the curves are steep
    return images


def exact_lab(images):
    return colour.rgb_to_lab(images.permute(0, 3, 1, 2).double() / 255)


def test_there_and_back_changes_less_than_a_grey_level():
    images = bytes_of_chance()
    places = colour_tables.shifted(colour_tables.roots_of(images), *NOTHING)
    lightness = colour_tables.lightness_of(places)
    assert (lightness - exact_lab(images)[:, 0].flatten(1)).abs().max() < 0.1
    back = colour_tables.rgb_of(places).reshape(3, 3, 40, 30)
    assert (back * 255 - images.permute(0, 3, 1, 2)).abs().max() < 0.5


def test_shifts_are_those_of_the_formulas_also_beyond_the_screen():
    images = bytes_of_chance()
    gain = torch.tensor([[1.0, 1, 1], [0.7, 0.92, 0.95], [0.8, 0.93, 1.0]])
    bias = torch.tensor([[4.0, 20, -30], [0, -10.24, 6.35], [20, 8.89, 0]])
    places = colour_tables.shifted(colour_tables.roots_of(images), gain, bias)
    lab = exact_lab(images) * gain[..., None, None] + bias[..., None, None]
    assert (colour_tables.lightness_of(places) - lab[:, 0].flatten(1)).abs().max() < 0.1
    got, wanted = colour_tables.rgb_of(places).reshape(3, 3, 40, 30), colour.lab_to_rgb(lab)
    assert (got - wanted).abs().max() < 1 / 255
    assert got.min() == 0
    assert got.max() == 1


def test_lightening_moves_lightness_alone():
    images = bytes_of_chance()
    change = 10 * torch.rand(3, 1200)
    places = colour_tables.shifted(colour_tables.roots_of(images), *NOTHING)
    got = colour_tables.rgb_of(colour_tables.lighten(places, change)).reshape(3, 3, 40, 30)
    lab = exact_lab(images)
    lab[:, 0] += change.reshape(3, 40, 30)
    assert (got - colour.lab_to_rgb(lab)).abs().max() < 1 / 255
