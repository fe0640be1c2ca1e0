"""Face models: sizes, what they learn, recipes, previews, and clips that they convert."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from statistics import fmean

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from featflow.cli.app import run as command
from featflow.datasets import FaceDataset, FaceLoader, FaceSets
from featflow.datasets.face_table import TableFaces
from featflow.errors import (
    ArrayError,
    MissingExtraError,
    MissingInputError,
    OptionError,
    RecipeError,
    SchemaError,
    WeightsError,
)
from featflow.geometry.crop import CropRule
from featflow.testing.painted import painted_faces, table_of
from featflow.train.augment import AugmentOptions, Share
from featflow.train.convert import (
    SYNTHETIC,
    Blend,
    Converter,
    convert,
    match_colours,
    paste,
    softened,
)
from featflow.train.face_recipe import is_face_recipe, read_face_recipe
from featflow.train.face_run import finish, prepare
from featflow.train.losses.collator import LossCollator
from featflow.train.metrics import read_metrics
from featflow.train.models.autoencoder import (
    FaceAutoencoder,
    load_face_model,
    save_face_model,
)
from featflow.train.models.faces import AugmentFaces, FaceLosses
from featflow.train.preview import (
    HEADER_PX,
    Preview,
    PreviewBuffer,
    Samples,
    preview_sheet,
    sheet_size,
    tinted,
)
from featflow.train.trainer import Trainer
from featflow.train.tuning import dry_run, find_learning_rate

RECIPE = """
[face]
model = "autoencoder/light"
preset = "tiny"
learn_mask = true
seed = 3
[identities]
A = "A.parquet"
B = "B.parquet"
[data]
cache = "{chips}"
preview = 2
[losses]
functions = {{ssim = 1.0, mse = 5.0}}
eye_multiplier = 2.0
[augment]
warp = 1.0
[optim]
name = "adam"
lr = 3e-3
steps = 180
batch_size = 4
[every]
log = 2
save = 60
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two painted identities of 32 faces each, their tables and a recipe."""
    folder = tmp_path_factory.mktemp("faces")
    for label, skin in (("A", (205, 150, 120)), ("B", (120, 160, 190))):
        seed = ord(label)
        fex = painted_faces(folder, 32, identity=label, skin=skin, seed=seed)
        fex.save(folder / f"{label}.parquet")
    (folder / "recipe.toml").write_text(RECIPE.format(chips=folder / "chips"))
    return folder


@pytest.fixture(scope="module")
def trained(world):
    """A run of 180 steps."""
    recipe = read_face_recipe(world / "recipe.toml")
    run = prepare(recipe, world / "work")
    run.trainer.fit(recipe.optim.steps)
    finish(run, world / "work")
    return run


def count(kind, preset="full", **options):
    with torch.device("meta"):
        model = FaceAutoencoder(kind, ["A", "B"], preset, **options)
    return sum(p.numel() for p in model.parameters())


def test_sizes_are_those_of_the_published_models():
    # Counted by hand for original: convolutions, both dense layers, doublings, two decoders.
    def conv(k, i, o):
        return k * k * i * o + o

    encoder = sum(conv(5, i, o) for i, o in ((3, 128), (128, 256), (256, 512), (512, 1024)))
    dense = 16384 * 1024 + 1024 + 1024 * 16384 + 16384
    decoder = sum(conv(3, i, 4 * o) for i, o in ((512, 256), (256, 128), (128, 64)))
    whole = encoder + dense + conv(3, 1024, 2048) + 2 * (decoder + conv(5, 64, 3))
    assert count("autoencoder/original") == whole
    assert round(whole / 1e6) == 82
    assert round(count("autoencoder/light") / 1e6) == 51
    assert round(count("autoencoder/df") / 1e6) == 130
    for kind in ("original", "light", "df"):
        assert count(f"autoencoder/{kind}", "tiny") < 3e6
    assert count("autoencoder/light", "tiny", learn_mask=True) > count("autoencoder/light", "tiny")


@pytest.mark.parametrize(("kind", "side"), [("original", 64), ("light", 64), ("df", 128)])
def test_encoder_is_shared_and_decoders_are_not(kind, side):
    torch.manual_seed(0)
    model = FaceAutoencoder(f"autoencoder/{kind}", ["A", "B", "C"], "tiny", learn_mask=True)
    faces = {label: torch.rand(2, 3, side, side) for label in "ABC"}
    drawn = model(faces)
    assert all(each.shape == (2, 3, side, side) for each in drawn.faces.values())
    assert all(each.shape == (2, 1, side, side) for each in drawn.masks.values())
    drawn.faces["A"].sum().backward()
    grads = {n.split(".")[1] for n, p in model.named_parameters() if p.grad is not None}
    assert "A" in grads
    assert not {"B", "C"} & grads
    assert model.encoder.layers[0].weight.grad is not None
    swapped = model({"A": faces["A"]}, "B").faces["A"]
    assert torch.equal(swapped, model.decoders["B"](model.encoder(faces["A"])))
    assert not torch.allclose(swapped, drawn.faces["A"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("autoencoder/big", ["A", "B"]), "autoencoder/big"),
        (("autoencoder/df", ["A"]), "two or more"),
        (("autoencoder/df", ["A", "A"]), "two or more"),
        (("autoencoder/df", ["A.x", "B"]), "dot"),
        (("autoencoder/df", ["A", "B"], "huge"), "preset"),
    ],
)
def test_impossible_models_are_named(arguments, named):
    with pytest.raises(OptionError, match=named):
        FaceAutoencoder(*arguments)


def test_faces_of_another_size_are_refused():
    model = FaceAutoencoder("autoencoder/light", "AB", "tiny")
    for shape in ((1, 3, 48, 48), (1, 1, 64, 64), (1, 64, 64, 3)):
        with pytest.raises(ArrayError, match=r"faces of A: are .* takes \(N, 3, 64, 64\)"):
            model({"A": torch.zeros(shape)})


def test_models_come_back_with_their_crop_rule(tmp_path):
    model = FaceAutoencoder("autoencoder/light", ["A", "B"], "tiny", learn_mask=True)
    crop = CropRule.centred(64, "head", 0.9, "replicate", 0.05)
    save_face_model(tmp_path / "m.safetensors", model, crop)
    again, rule = load_face_model(tmp_path / "m.safetensors")
    assert rule == crop
    assert (again.kind, again.labels, again.learn_mask) == ("autoencoder/light", ("A", "B"), True)
    faces = {"A": torch.rand(1, 3, 64, 64)}
    assert torch.equal(again(faces).faces["A"], model(faces).faces["A"])
    with pytest.raises(MissingInputError):
        load_face_model(tmp_path / "none")
    (tmp_path / "x").write_bytes(b"rubbish")
    with pytest.raises(WeightsError, match="damaged"):
        load_face_model(tmp_path / "x")


def test_a_short_run_halves_the_loss(trained, world):
    curve = [row["loss"] for row in trained.trainer.curve]
    assert fmean(curve[-3:]) < curve[0] / 2
    first, last = trained.trainer.curve[0], trained.trainer.curve[-1]
    for name in ("A/ssim", "A/mse", "B/ssim", "B/mse", "A/mask", "B/mask"):
        assert last[name] < first[name], name
    parts = sum(v for name, v in last.items() if "/" in name and "unweighted" not in name)
    assert parts == pytest.approx(last["loss"], rel=1e-3)
    model, crop = load_face_model(world / "work" / "model.safetensors")
    assert crop == trained.recipe.crop
    assert model.labels == ("A", "B")
    assert json.loads((world / "work" / "results.json").read_text())["identities"] == {
        "A": 32,
        "B": 32,
    }
    assert len(read_metrics(world / "work" / "metrics.csv")) == 90


def test_swapped_faces_have_the_other_skin(trained):
    samples = Samples.of(trained.sets, 6)
    with trained.trainer.lent(trained.trainer.average) as model, torch.no_grad():
        own = model(samples.faces).faces
        swapped = model({"A": samples.faces["A"]}, "B").faces["A"]
    centre = np.s_[:, :, 24:40, 24:40]
    colour = {name: pictures[centre].mean((0, 2, 3)) for name, pictures in
              (("A", own["A"]), ("B", own["B"]), ("swap", swapped))}  # fmt: skip
    assert colour["A"][0] > colour["A"][2], "person A is red"
    assert colour["B"][2] > colour["B"][0], "person B is blue"
    assert (colour["swap"] - colour["B"]).abs().max() < (colour["swap"] - colour["A"]).abs().max()


def test_learned_masks_lie_on_the_face(trained):
    samples = Samples.of(trained.sets, 6)
    with trained.trainer.lent(trained.trainer.average) as model, torch.no_grad():
        masks = model(samples.faces).masks
    for label, mask in masks.items():
        true = samples.masks[label] > 0.5
        found = mask > 0.5
        assert (true & found).sum() / (true | found).sum() > 0.7


def test_a_killed_run_goes_on_with_the_same_losses(trained, world):
    recipe = read_face_recipe(world / "recipe.toml")
    work = world / "again"
    first = prepare(recipe, work)
    first.trainer.fit(6)
    again = prepare(read_face_recipe(world / "recipe.toml"), work)
    torch.manual_seed(1234)
    again.trainer.resume()
    seen = [again.trainer.train_one_step()["loss"] for _ in range(3)]
    straight = prepare(read_face_recipe(world / "recipe.toml"), world / "straight")
    losses = [straight.trainer.train_one_step()["loss"] for _ in range(9)]
    assert seen == pytest.approx(losses[6:], abs=1e-6)


# Data


@pytest.fixture(scope="module")
def sets(world):
    crop = CropRule.centred(64, "face", 0.9, "replicate")
    return FaceSets(
        {
            label: FaceDataset(
                world / f"{label}.parquet",
                crop=crop,
                mask=["extended", "eyes"],
                cache=world / "chips",
            )
            for label in "AB"
        }
    )


def test_targets_are_not_warped_and_masks_follow_them(sets):
    still = {
        "lightness": 0.0,
        "colour": 0.0,
        "clahe_chance": 0.0,
        "flip": 0.0,
        "rotation": 0.0,
        "zoom": 0.0,
        "shift": 0.0,
    }
    options = AugmentOptions.from_config(64, {**still, "warp": 3.0})
    transform = AugmentFaces(sets, options)
    plain = next(FaceLoader(sets, 4).batches(2))
    made = next(FaceLoader(sets, 4, transform=transform).batches(2))
    for label in "AB":
        crops = plain[label]["crop"].permute(0, 3, 1, 2) / 255
        assert torch.allclose(made[label]["target"], crops, atol=0.01)
        assert (made[label]["input"] - crops).abs().mean() > 0.005
        masks = plain[label]["mask"][:, 0:1] / 255
        assert torch.allclose(made[label]["extended"], masks, atol=0.01)
        assert made[label]["eyes"].shape == (4, 1, 64, 64)
    flipping = AugmentFaces(sets, AugmentOptions.from_config(64, {**still, "warp": 0.0, "flip": 1}))
    mirrored = next(FaceLoader(sets, 4, transform=flipping).batches(2))
    assert torch.allclose(mirrored["A"]["target"].flip(-1), made["A"]["target"], atol=0.01)
    assert torch.allclose(mirrored["A"]["extended"].flip(-1), made["A"]["extended"], atol=0.02)


@pytest.mark.parametrize("to_landmarks", [False, True])
def test_processes_share_one_augmented_batch(sets, to_landmarks):
    options = AugmentOptions.from_config(64)

    def drawn(rank, world, batch_size):
        share = Share(rank, world)
        augment = AugmentFaces(sets, options, to_landmarks=to_landmarks, share=share)
        return FaceLoader(sets, batch_size, transform=augment, rank=rank, world=world)[3]

    whole = drawn(0, 1, 4)
    for rank in range(2):
        part = drawn(rank, 2, 2)
        for label in "AB":
            for name, value in part[label].items():
                assert torch.allclose(value, whole[label][name][rank::2], atol=1e-5), name


def test_warping_to_landmarks_takes_the_nearest_of_the_other_side(sets):
    transform = AugmentFaces(sets, AugmentOptions.from_config(64), to_landmarks=True, choices=3)
    own = torch.from_numpy(sets.sets["A"].points).flatten(1)
    other = torch.from_numpy(sets.sets["B"].points).flatten(1)
    nearest = (own[:, None] - other).square().sum(-1).argsort(1)[:, :3]
    drawn = transform.near["A"].draw(torch.arange(32), torch.Generator().manual_seed(0))
    for row in range(32):
        which = (other - drawn[row].flatten()).abs().sum(1).argmin()
        assert which in nearest[row]
    batch = next(FaceLoader(sets, 4, transform=transform).batches(0))
    assert (batch["A"]["input"] - batch["A"]["target"]).abs().mean() > 0.005


def test_losses_are_those_of_the_collator(sets):
    collator = LossCollator({"mae": 2.0}, use_mask=True)
    made = {
        label: {
            "input": torch.rand(3, 3, 64, 64),
            "target": torch.rand(3, 3, 64, 64),
            "extended": torch.ones(3, 1, 64, 64),
        }
        for label in "AB"
    }
    model = FaceAutoencoder("autoencoder/light", ["A", "B"], "tiny")
    terms = FaceLosses(collator, {"face": "extended"})(model, made, 0)
    drawn = model({label: sides["input"] for label, sides in made.items()}).faces
    wanted = {label: 2 * (drawn[label] - made[label]["target"]).abs().mean() for label in "AB"}
    assert terms["A/mae"].item() == pytest.approx(wanted["A"].item(), rel=1e-5)
    assert terms["loss"].item() == pytest.approx((wanted["A"] + wanted["B"]).item(), rel=1e-5)


@pytest.mark.parametrize("sides", [(64,), (32, 64), (16, 32, 64)])
@pytest.mark.parametrize("labels", ["A", "AB", "ABC"])
def test_any_number_of_people_and_of_output_sizes(labels, sides):
    class Small(torch.nn.Module):
        """Draws black at several sizes."""

        def forward(self, faces):
            made = {n: [torch.zeros(len(f), 3, s, s) for s in sides] for n, f in faces.items()}
            return type("Drawn", (), {"faces": made, "masks": {}})()

    target = torch.rand(2, 3, 64, 64)
    batch = {label: {"input": target, "target": target} for label in labels}
    terms = FaceLosses(LossCollator({"mae": 1.0, "mse": 0.0}))(Small(), batch, 0)
    # The mean of absolute values does not change when pixels are joined by means.
    assert terms["A/mae"].item() == pytest.approx(len(sides) * target.mean().item(), rel=1e-4)
    assert terms["loss"].item() == pytest.approx(len(labels) * terms["A/mae"].item(), rel=1e-4)
    small = [target.reshape(2, 3, s, 64 // s, s, 64 // s).mean((3, 5)) for s in sides]
    squares = sum(float(each.square().mean()) for each in small)
    assert terms["A/mse"] == 0
    assert terms["A/mse unweighted"].item() == pytest.approx(squares, rel=1e-4)


# Previews


@pytest.mark.parametrize("coverage", [0.625, 0.8, 1.0])
@pytest.mark.parametrize("masks", [(), ("face",)])
def test_samples_with_and_without_masks_at_any_coverage(world, coverage, masks):
    rule = CropRule.centred(64, "face", coverage, "replicate")
    sets = FaceSets(
        {
            n: FaceDataset(world / f"{n}.parquet", crop=rule, mask=masks, cache=world / "chips")
            for n in "AB"
        }
    )
    samples = Samples.of(sets, 3)
    model = FaceAutoencoder("autoencoder/light", "AB", "tiny").eval()
    sheet = preview_sheet(model, samples, show_mask=bool(masks))
    assert sheet.shape == (HEADER_PX + 6 * 64, 3 * 64, 3)
    plain = preview_sheet(model, samples)
    for row, number in enumerate((0, 15, 31)):
        cell = plain[HEADER_PX + 64 * row : HEADER_PX + 64 * (row + 1), :64]
        assert np.array_equal(cell, sets.sets["A"][number]["crop"].numpy())


@pytest.fixture
def shown(monkeypatch):
    """What a stand-in for tkinter was given to show; no display is needed."""
    from featflow.train import preview_window

    pictures = []

    class Toolkit:
        """All of tkinter that the window uses."""

        TclError = RuntimeError

        def __getattr__(self, name):
            return lambda *args, **kwargs: self

        def configure(self, image, text):
            pictures.append(image)

    monkeypatch.setitem(sys.modules, "tkinter", Toolkit())
    monkeypatch.setattr("PIL.ImageTk.PhotoImage", np.asarray)
    monkeypatch.setattr(preview_window, "_PAUSE_S", 0)
    return pictures


def test_a_picture_can_be_watched(shown, tmp_path, monkeypatch, capsys):
    from featflow.train import preview_window

    path = tmp_path / "preview.png"
    white, grey = (np.full((4, 6, 3), shade, np.uint8) for shade in (255, 99))
    keys = iter(["", "", "new", "", "q"])

    def update(window):
        key = next(keys)
        if key == "new":
            Image.fromarray(grey).save(path)
            os.utime(path, ns=(1, 1))
        return key

    monkeypatch.setattr(preview_window.Window, "update", update)
    Image.fromarray(white).save(path)
    assert preview_window.main([str(path)]) == 0
    assert [int(picture.mean()) for picture in shown] == [255, 99]
    keys = iter(["", "q"])
    path.write_bytes(b"no picture")
    for wrong in ([str(path)], [str(tmp_path / "none.png")], []):
        assert preview_window.main(wrong) == 1
    assert capsys.readouterr().err.count("featflow: ") == 3


def test_the_keys_of_the_window(shown, monkeypatch, trained, tmp_path):
    from featflow.train import preview_window

    buffer = PreviewBuffer()
    window = preview_window.PreviewWindow(buffer)
    samples = next(c.samples for c in trained.trainer.callbacks if hasattr(c, "samples"))
    preview = Preview(samples, tmp_path, buffer=buffer)
    monkeypatch.setattr(trained.trainer, "callbacks", [preview, window])
    saves, stops = [], []
    monkeypatch.setattr(trained.trainer, "save", lambda: saves.append(1))
    monkeypatch.setattr(trained.trainer, "stop", stops.append)
    for key in ("r", "m", "x", "s", "q", ""):
        window._window.press(key)
        window.on_step(trained.trainer, {})
    assert len(shown) == 2, "R and M draw, the others do not"
    assert np.array_equal(shown[0], preview_sheet(trained.model.eval(), samples))
    assert np.array_equal(shown[1], preview_sheet(trained.model.eval(), samples, show_mask=True))
    assert (tmp_path / "preview.png").is_file()
    assert not (tmp_path / "timelapse").exists()
    assert (len(saves), stops) == (1, ["the preview window was closed"])


@pytest.mark.parametrize("identities", [2, 3, 4])
def test_sheets_show_input_reconstruction_and_swaps(identities):
    labels = "ABCD"[:identities]

    class Paint(torch.nn.Module):
        """Draws the number of the decoder."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, faces, to):
            shade = (labels.index(to) + 1) / 10
            made = {label: torch.full_like(each, shade) for label, each in faces.items()}
            return type("Drawn", (), {"faces": made})()

    faces = {label: torch.full((2, 3, 16, 16), 0.9) for label in labels}
    masks = {label: torch.ones(2, 1, 16, 16) for label in labels}
    masks["A"][:, :, :8] = 0
    samples = Samples(faces, masks)
    sheet = preview_sheet(Paint(), samples)
    assert sheet.shape == (20 + 2 * identities * 16, 16 * (1 + identities), 3)
    assert sheet.shape[:2] == sheet_size(identities, 2 * identities, 16)
    body = sheet[HEADER_PX:]
    assert (body[:, :16] == 230).all()
    for column in range(identities):
        cell = body[:, 16 * (column + 1) : 16 * (column + 2)]
        assert (cell == round(255 * (column + 1) / 10)).all()
    overlaid = preview_sheet(Paint(), samples, show_mask=True)[HEADER_PX:]
    changed = (overlaid != body).any(-1)
    assert changed[:8].all()
    assert not changed[8:16].any()
    assert not changed[32:].any(), "the overlay lies where the mask is full"
    assert (overlaid[0, 0] == [round(0.7 * 229.5 + 0.3 * 255), 161, 161]).all()
    with pytest.raises(OptionError, match="no masks"):
        preview_sheet(Paint(), Samples(faces, {}), show_mask=True)


def test_tint_is_red_outside_only():
    face = torch.full((1, 3, 2, 2), 0.5)
    mask = torch.tensor([[[[1.0, 0.0], [0.5, 1.0]]]])
    red = tinted(face, mask)
    assert torch.equal(red[0, :, 0, 0], face[0, :, 0, 0])
    assert red[0, 0, 0, 1] == pytest.approx(0.65)
    assert red[0, 2, 0, 1] == pytest.approx(0.35)


def test_previews_and_timelapse_are_written_at_each_save(trained, world):
    previews = world / "work" / "previews"
    names = sorted(p.name for p in (previews / "timelapse").iterdir())
    assert names == ["00000060.png", "00000120.png", "00000180.png"]
    newest = cv2.imread(str(previews / "preview.png"))
    assert newest.shape == (20 + 4 * 64, 3 * 64, 3)
    last = cv2.imread(str(previews / "timelapse" / "00000180.png"))
    assert np.array_equal(newest, last)


def test_the_buffer_is_safe_between_two_threads():
    buffer = PreviewBuffer()
    assert not buffer.is_updated

    def write():
        for number in range(300):
            buffer.add_image("sheet", np.full((8, 8, 3), number % 256, np.uint8))

    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    while thread.is_alive() or buffer.is_updated:
        if buffer.is_updated:
            picture = buffer.get_images()["sheet"]
            assert (picture == picture[0, 0]).all()
            seen.append(int(picture[0, 0, 0]))
    thread.join()
    assert seen[-1] == 299 % 256
    assert not buffer.is_updated


def test_no_gui_is_imported_and_no_display_is_one_line(monkeypatch):
    code = """
import sys
import featflow.cli.fitting, featflow.train.preview, featflow.train.face_run
print([m for m in ("tkinter", "_tkinter", "PyQt5", "matplotlib.pyplot") if m in sys.modules])
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.strip() == "[]", done.stderr
    from featflow.train.preview_window import PreviewWindow

    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(MissingExtraError, match="no preview window") as caught:
        PreviewWindow(PreviewBuffer())
    assert "\n" not in str(caught.value)


# Recipes and the command


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"face.model": "autoencoder/x"}, "autoencoder/x"),
        ({"face.preset": "big"}, "preset"),
        ({"face.sed": 1}, "sed"),
        ({"face.learn_mask": 1}, "learn_mask must be true or false"),
        ({"data.centring": "nose"}, "centring"),
        ({"data.coverage": "wide"}, "coverage must be a number"),
        ({"data.coverage": 0.0}, "coverage must be above 0"),
        ({"data.workers": -1}, "workers"),
        ({"data.preview": -2}, "preview"),
        ({"data.mask": "beard"}, "beard"),
        ({"face.seed": -1}, "seed"),
        ({"losses.functions": {"sim": 1}}, "sim"),
        ({"losses.eye": 2}, "eye"),
        ({"augment.spin": 2}, "spin"),
        ({"augment.flip": 2.0}, "flip"),
        ({"optim.steps": 0}, "steps"),
        ({"optim.name": "adamm"}, "adamm"),
        ({"optim.lr": -1.0}, "lr"),
        ({"optim.clip": "norms"}, "norms"),
        ({"optim.schedule": "cubic"}, "cubic"),
        ({"optim.precision": "fp8"}, "fp32"),
        ({"optim.momentun": 1}, "momentun"),
        ({"optim.batch_size": 0}, "batch_size"),
        ({"every.save": 0}, "save"),
        ({"identities.A": 3}, "identities"),
        ({"extra.a": 3}, "extra"),
    ],
)
def test_a_bad_value_of_a_recipe_is_named(world, change, named):
    with pytest.raises(RecipeError, match=named):
        read_face_recipe(world / "recipe.toml", change)


def test_a_recipe_is_read(world):
    recipe = read_face_recipe(world / "recipe.toml", {"data.shift_y": 0.1, "data.coverage": 0.7})
    assert recipe.crop == CropRule.centred(64, "face", 0.7, "replicate", 0.1)
    assert recipe.masks == ("extended", "eyes")
    assert recipe.augment.warp == 1.0
    assert recipe.optim.lr == 3e-3
    assert recipe.identities["B"] == world / "B.parquet"
    assert is_face_recipe(world / "recipe.toml")
    node = Path(__file__).parents[2] / "nodes" / "pose" / "mlp" / "recipe.toml"
    assert not is_face_recipe(node)


def test_a_dry_run_changes_nothing(world):
    run = prepare(read_face_recipe(world / "recipe.toml"), world / "dry")
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    chance = torch.get_rng_state()
    seen = dry_run(run.trainer)
    assert seen["parameters"] == sum(p.numel() for p in run.model.parameters())
    assert seen["losses"]["loss"] > 0
    assert all(torch.equal(before[k], v) for k, v in run.model.state_dict().items())
    assert torch.equal(chance, torch.get_rng_state())
    assert not (world / "dry").exists()
    fresh = prepare(read_face_recipe(world / "recipe.toml"), world / "dry")
    assert run.trainer.train_one_step() == fresh.trainer.train_one_step()


def test_the_search_for_a_rate_changes_the_rate_alone(world):
    run = prepare(read_face_recipe(world / "recipe.toml"), world / "lr")
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    finder = find_learning_rate(run.trainer, steps=20, start_lr=1e-5, end_lr=0.3, beta=0.6)
    assert all(torch.equal(before[k], v) for k, v in run.model.state_dict().items())
    assert finder.best_lr is not None
    assert run.trainer.optimiser.lr == finder.best_lr
    assert (run.trainer.step, run.trainer.position, run.trainer.curve) == (0, 0, [])


def test_the_search_of_the_command_may_exit(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("featflow.cli.fitting._SWEEP_STEPS", 8)
    line = ["train", str(world / "recipe.toml"), "--work", str(tmp_path / "work")]
    assert command([*line, "--find-lr", "graph_and_exit"]) == 0
    assert "learning_rate" in json.loads(capsys.readouterr().out)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["learning_rate.png"]


def test_the_command_trains_looks_and_converts(world, tmp_path, capsys):
    recipe = ["train", str(world / "recipe.toml"), "--work", str(tmp_path / "work")]
    assert command([*recipe, "--dry-run"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["faces"] == {"A": 32, "B": 32}
    assert not (tmp_path / "work").exists()
    assert command([*recipe, "--set", "optim.steps=10", "--preview"]) == 0
    printed = capsys.readouterr()
    assert "step 10/10" in printed.err
    assert printed.err.count("no preview window") <= 1
    for wrong in (["--find-lr", "sideways"], ["--find-lr", "set", "--resume"]):
        assert command([*recipe, *wrong]) == 2
        assert "--find-lr" in capsys.readouterr().err
    photo = TableFaces(FaceDataset(world / "A.parquet", crop=CropRule(8),
                                   cache=world / "chips").table.iloc[:1])  # fmt: skip
    photo.table.to_parquet(tmp_path / "one.parquet")
    model = str(tmp_path / "work" / "model.safetensors")
    line = ["convert", str(tmp_path / "out.png"), "--model", model]
    line += ["--fex", str(tmp_path / "one.parquet")]
    assert command([*line, "--to", "B"]) == 0
    assert Image.open(tmp_path / "out.png").text["Description"] == SYNTHETIC
    assert command([*line, "--to", "C"]) == 2
    assert "it has A, B" in capsys.readouterr().err


# Converting


class Constant(torch.nn.Module):
    """Draws one colour."""

    labels, learn_mask, kind, side = ("A", "B"), False, "constant", 64

    def __init__(self, colour):
        super().__init__()
        self.colour = torch.nn.Parameter(torch.tensor(colour).view(1, 3, 1, 1) / 255)

    check_label = FaceAutoencoder.check_label

    def forward(self, faces, to=None):
        made = {n: f * 0 + self.colour for n, f in faces.items()}
        return type("Drawn", (), {"faces": made, "masks": {}})()


def test_a_converted_clip_differs_on_the_face_only(tmp_path):
    size = (96, 128)
    points = painted_points(size)
    rng = np.random.default_rng(0)
    base = cv2.GaussianBlur(rng.integers(60, 200, (*size, 3)).astype(np.uint8), (0, 0), 4)
    path = tmp_path / "in.mkv"
    times = [0, 40, 120, 160]
    write_frames(path, [base] * 4, times)
    table = table_of([path] * 3, np.array([0, 1, 3]), np.stack([points] * 3), size)
    table.loc[2, "Keep"] = False
    crop = CropRule.centred(64, "face", outside="replicate")
    converter = Converter(Constant([20.0, 200.0, 30.0]), crop, "B", Blend("face", colour="keep"))
    assert convert(converter, table, tmp_path / "out.mkv") == 4
    before, after = read_frames(path), read_frames(tmp_path / "out.mkv")
    assert [t for _, t in after] == pytest.approx([t / 1000 for t in times], abs=1e-3)
    hull = cv2.convexHull(points.astype(np.float32))
    face = cv2.fillConvexPoly(np.zeros(size, np.uint8), hull.astype(np.int32), 1)
    near = cv2.dilate(face, np.ones((9, 9), np.uint8))
    deep = cv2.erode(face, np.ones((21, 21), np.uint8))
    for index in (0, 1):
        change = np.abs(after[index][0].astype(int) - before[index][0]).max(-1)
        assert np.median(np.abs(after[index][0][deep > 0] - np.array([20.0, 200, 30]))) < 8
        assert np.percentile(change[near == 0], 98) < 12
    for index in (2, 3):  # no row, and a row that is not kept
        assert np.abs(after[index][0].astype(int) - before[index][0]).mean() < 3
    with av.open(str(tmp_path / "out.mkv")) as file:
        assert SYNTHETIC in {v for k, v in file.metadata.items() if k.lower() == "comment"}


def painted_points(size):
    from featflow.testing.painted import random_landmarks

    return random_landmarks(np.random.default_rng(1), 1, size)[0]


def write_frames(path, frames, times_ms):
    from featflow.plot.clips import CLIPS, write_clip

    pairs = ((frame, time / 1000) for frame, time in zip(frames, times_ms, strict=True))
    write_clip(path, pairs, CLIPS[path.suffix])


def read_frames(path):
    from featflow.datasets import open_source

    return [(frame.image, frame.time_s) for frame in open_source(str(path))]


def test_pasting_back_undoes_the_crop(world):
    table = FaceDataset(world / "A.parquet", crop=CropRule(64), cache=world / "chips").table
    picture = cv2.cvtColor(cv2.imread(table["input"].iloc[0]), cv2.COLOR_BGR2RGB)
    crop = CropRule.centred(256, "face", outside="replicate")
    matrix = crop.matrices(TableFaces(table.iloc[:1]))[0]
    from featflow.geometry.warp import warp

    chip = warp(picture, matrix, (256, 256), "replicate")
    back = paste(picture, chip, np.ones((256, 256), np.float32), matrix)
    assert np.abs(back.astype(int) - picture).mean() < 1.5
    nothing = paste(picture, 255 - chip, np.zeros((256, 256), np.float32), matrix)
    assert np.array_equal(nothing, picture)


def test_soft_masks_end_before_the_edge():
    full = np.full((100, 100), 255, np.uint8)
    soft = softened(full, Blend(shrink=0.05, soft=0.1))
    assert soft[50, 50] == 1
    assert (soft[0] == 0).all()
    assert (soft[:, -1] == 0).all()
    assert (soft[5, 50], soft[4, 50]) == (pytest.approx(soft[50, 5]), pytest.approx(soft[50, 4]))
    half = np.zeros((100, 100), np.uint8)
    half[:, 50:] = 255
    edge = softened(half, Blend(shrink=0.0, soft=0.1))[50]
    assert (edge[:50] == 0).all()
    assert (np.diff(edge[40:75]) >= 0).all()
    assert edge[75] == 1


def test_colours_are_matched_within_the_mask():
    rng = np.random.default_rng(0)
    like = (90 + rng.normal(0, 12, (64, 64, 3))).clip(0, 255).astype(np.uint8)
    like[..., 0] += 60
    face = (150 + rng.normal(0, 10, (64, 64, 3))).clip(0, 255).astype(np.uint8)
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    like[mask == 0] = 0
    matched = match_colours(face, like, mask)
    inside = mask > 0
    labs = [cv2.cvtColor(p.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[inside]
            for p in (matched, like)]  # fmt: skip
    assert np.allclose(labs[0].mean(0), labs[1].mean(0), atol=0.6)
    assert np.allclose(labs[0].std(0), labs[1].std(0), rtol=0.25)
    assert np.array_equal(match_colours(face, like, mask * 0), face)


def test_what_cannot_be_converted_is_named(tmp_path, world):
    crop = CropRule.centred(64, "face")
    converter = Converter(Constant([0.0, 0.0, 0.0]), crop, "A", Blend())
    with pytest.raises(SchemaError, match="32 inputs"):
        convert(converter, world / "A.parquet", tmp_path / "out.mp4")
    with pytest.raises(OptionError, match="must end in"):
        convert(converter, world / "A.parquet", tmp_path / "out.gif")
    with pytest.raises(OptionError, match="no mask"):
        Converter(Constant([0.0, 0.0, 0.0]), crop, "A", Blend("learned"))
    with pytest.raises(OptionError, match="64 pixels, and the crop has 32"):
        Converter(Constant([0.0, 0.0, 0.0]), CropRule.centred(32, "face"), "A", Blend())
    for wrong in ({"mask": "hat"}, {"soft": 0.6}, {"colour": "x"}):
        with pytest.raises(OptionError):
            Blend(**wrong)


def test_the_trainer_takes_any_number_of_identities(sets):
    three = FaceSets({"A": sets.sets["A"], "B": sets.sets["B"], "C": sets.sets["A"]})
    model = FaceAutoencoder("autoencoder/light", three.labels, "tiny")
    options = AugmentOptions.from_config(64)
    loader = FaceLoader(three, 2, transform=AugmentFaces(three, options))
    from featflow.train.optim import OptimConfig

    trainer = Trainer(model, loader, FaceLosses(LossCollator({"mse": 1.0})), OptimConfig())
    trainer.fit(2)
    assert trainer.step == 2
