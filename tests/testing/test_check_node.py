import itertools
import os
import random
import warnings
from typing import ClassVar

import numpy as np
import pytest
import torch

from featflow.errors import FeatflowError
from featflow.flow import InputSpec, Node
from featflow.flow.batch import SHAPES, Batch, FaceBatch
from featflow.geometry.crop import CropRule
from featflow.testing import ConformanceError, check_node
from featflow.testing.sample import sample_for

CARD = """
id = "{id}"
summary = "A node of a test."
licence = "MIT"
commercial_use = true
size_bytes = 0
sha256 = ""
requires = {requires}
provides = {provides}
data = "none"
method = "a formula"
limits = []
consent = "no people"
[metrics]
"""


class Brightness(Node):
    """Mean of the crop: sees pictures, has a network."""

    kind, name, unit = "toy", "brightness", "face"
    requires, provides = ("box",), ("brightness",)
    shapes: ClassVar = {"brightness": ()}
    spec = InputSpec(crop=CropRule(size=8))

    def __init__(self):
        super().__init__()
        self.network = None

    def load(self, device="cpu"):
        super().load(device)
        if self.network is None:
            self.network = torch.nn.Flatten()

    def pre_process(self, batch):
        return self.spec.prepare(batch.crops(self.spec.crop), self.device)

    def process(self, inputs):
        return self.network(inputs).mean(1)

    def post_process(self, batch, outputs):
        return {"brightness": outputs.cpu().numpy()}


class Bright(Node):
    """Finds the bright part of a picture."""

    kind, name, unit = "face", "bright", "frame"
    provides = ("box", "score")

    def pre_process(self, batch):
        return [np.argwhere(image[..., 0] > 200) for image in batch.frames.images]

    def process(self, inputs):
        return [np.r_[at.min(0)[::-1], at.max(0)[::-1] + 1] for at in inputs]

    def post_process(self, batch, outputs):
        score = np.full(len(outputs), 0.9, np.float32)
        box = np.array(outputs, np.float32)
        return FaceBatch(batch.frames.uids.copy(), {"box": box, "score": score})


@pytest.fixture
def check(tmp_path, monkeypatch):
    """``check_node`` with a card that agrees with the class, in a folder of its own."""

    def run(cls, sample=None, card=CARD):
        def listed(value):
            return list(value) if isinstance(value, tuple) else []

        told = {k: listed(getattr(cls, k, ())) for k in ("requires", "provides")}
        (tmp_path / "card.toml").write_text(
            card.format(id=f"{cls.kind}/{cls.name}", **told).replace("'", '"')
        )
        monkeypatch.setattr("inspect.getfile", lambda _: str(tmp_path / "node.py"))
        return check_node(cls, sample)

    return run


@pytest.mark.parametrize(("cls", "faces"), [(Brightness, 8), (Bright, 8)])
def test_a_good_node_passes(check, cls, faces):
    report = check(cls)
    assert report.node == f"{cls.kind}/{cls.name}"
    assert report.faces == faces
    assert len(report.checks) == 13
    assert report.card.summary == "A node of a test."


def variant(base=Brightness, **members):
    return type("Variant", (base,), members)


def alters(phase, change):
    """A node whose phase does something else besides."""
    plain = getattr(Brightness, phase)

    def altered(self, *args):
        return change(plain(self, *args), *args)

    return variant(**{phase: altered})


def restored(call):
    """The value, after a side effect."""
    return lambda value, *_: (call(), value)[1]


counter = itertools.count()


def brighten(self, batch):
    batch.faces.box[:] += 1
    return Brightness.pre_process(self, batch)


def paint(self, batch):
    for image in batch.frames.images:
        image[:] = 0
    return Brightness.pre_process(self, batch)


def reads_pictures(self, batch):
    return torch.tensor([[batch.frames.images[r].sum() / 1e5] for r in batch.frame_rows])


def first_of_batch(value, *_):
    return value - value[0]


def uncopyable(self):
    Node.__init__(self)
    self.network = None
    self.generator = (n for n in ())


def load_once(self, device="cpu"):
    Node.load(self, device)
    if self.network is not None:
        raise RuntimeError("already loaded")
    self.network = torch.nn.Flatten()


def without_batch(self, batch, outputs):
    return {"brightness": outputs.cpu().numpy()[:1]}


def infinite(self, batch, outputs):
    return {"brightness": np.full(len(outputs), np.inf)}


def invents(self, batch):
    return [np.array([[0, 0], [9, 9]])] * len(batch.frames)


BROKEN = [
    (variant(kind="a b"), "declarations: kind must be a plain word"),
    (variant(unit="crop"), "declarations: unit must be"),
    (variant(batch_size=0), "declarations: batch_size"),
    (variant(spec=InputSpec(std=(0.0,))), "declarations: spec"),
    (variant(provides=()), "declarations: provides names no field"),
    (variant(provides=["brightness"]), "declarations: provides must be a tuple"),
    (variant(requires=("brightness",)), "declarations: requires and provides 'brightness'"),
    (variant(shapes={}), "declarations: shapes does not have 'brightness'"),
    (variant(provides=("pose",), shapes={"pose": (3,)}), "declarations: shapes says"),
    (variant(base=Bright, provides=("box",)), "declarations: a frame node must provide"),
    (variant(load=load_once), "loads twice: raised RuntimeError: already loaded"),
    (variant(requires=("box", "aura")), "runs on the sample: .*aura"),
    (variant(post_process=without_batch), "runs on the sample: .*has shape"),
    (alters("process", first_of_batch), "one at a time: field 'brightness' differs"),
    (alters("process", lambda v, *_: v + next(counter)), "deterministic: field 'brightness'"),
    (variant(pre_process=brighten), "inputs unchanged: field 'box'"),
    (variant(pre_process=paint), "inputs unchanged: the pictures were written to"),
    (variant(post_process=infinite), "no infinity: fields .'brightness'."),
    (alters("process", restored(random.random)), "process state: .* random"),
    (alters("process", restored(np.random.rand)), "process state: .* numpy.random"),
    (alters("process", restored(lambda: torch.rand(1))), "process state: .* torch's generator"),
    (
        alters("pre_process", restored(lambda: torch.set_grad_enabled(False))),
        "process state: .*the grad mode",
    ),
    (
        alters("process", restored(lambda: torch.set_default_dtype(torch.float64))),
        "process state: .*torch's default dtype",
    ),
    (
        variant(load=lambda self, device="cpu": (Brightness.load(self), torch.set_num_threads(7))),
        "process state: .*torch's number of threads",
    ),
    (alters("process", restored(lambda: os.environ.update(X="1"))), "state: .*the environment"),
    (
        alters("process", restored(lambda: warnings.simplefilter("ignore"))),
        "process state: .*the warnings filters",
    ),
    (variant(spec=InputSpec(), pre_process=reads_pictures), "pictures declared: reads the pict"),
    (variant(__init__=uncopyable), "copies: raised TypeError"),
]


@pytest.mark.parametrize(("cls", "told"), BROKEN)
def test_each_check_finds_what_it_is_there_for(check, cls, told, monkeypatch):
    monkeypatch.setenv("X", "0")
    with warnings.catch_warnings(), pytest.raises(ConformanceError, match=told) as error:
        check(cls)
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_num_threads() != 7
    assert isinstance(error.value, AssertionError)
    assert error.value.failures


def test_a_node_that_sees_unreadable_frames_differently_is_found(check):
    class Counts(Brightness):
        """Values depend on how many frames of the batch can be read."""

        def post_process(self, batch, outputs):
            return {"brightness": outputs.numpy() + batch.frames.readable.sum()}

    with pytest.raises(ConformanceError, match="unreadable frames: field 'brightness'"):
        check(Counts)


def test_a_node_with_rows_out_of_nothing_is_found(check, monkeypatch):
    # The engine never shows a node an empty batch; the check looks at what the engine returns.
    from featflow.flow.stage import NodeStage

    plain = NodeStage.run

    def run(self, parcel):
        result = plain(self, parcel)
        return {k: np.zeros(1) for k in result} if not len(parcel.batch.faces) else result

    monkeypatch.setattr(NodeStage, "run", run)
    with pytest.raises(ConformanceError, match=r"no rows: fields \['brightness'\] have rows"):
        check(Brightness)


def test_all_failures_are_listed_at_once(check):
    bad = alters("process", lambda v, *_: v / 0 + torch.rand(1))
    with pytest.raises(ConformanceError) as error:
        check(bad)
    names = [line.split(":")[0].strip() for line in error.value.failures]
    assert {"no infinity", "process state"} <= set(names)


@pytest.mark.parametrize(
    ("card", "told"),
    [
        (CARD.replace('"{id}"', '"toy/other"'), "card: key 'id' says 'toy/other'"),
        (CARD.replace("{provides}", '["x"]'), "card: key 'provides'"),
        (CARD.replace("{requires}", "[]"), "card: key 'requires'"),
        (CARD.replace('licence = "MIT"\n', ""), "card: .*'licence' is missing"),
        (
            CARD.replace('sha256 = ""', f'sha256 = "{"ab" * 32}"').replace(
                "bytes = 0", "bytes = 9"
            ),
            "card: no .safetensors file",
        ),
    ],
)
def test_the_card_must_agree_with_the_node(check, card, told):
    with pytest.raises(ConformanceError, match=told):
        check(Brightness, card=card)


def test_a_given_sample_is_used(check):
    class Needs(Brightness):
        requires = ("box", "aura")

        def post_process(self, batch, outputs):
            return {"brightness": batch.faces.fields["aura"] * 2}

    sample = sample_for(Brightness())
    sample = sample.with_fields({"aura": np.arange(8.0)})
    assert check(Needs, sample).faces == 8
    with pytest.raises(ConformanceError, match="the sample has 3 rows, not 8"):
        check(Needs, Batch(sample.frames, sample.faces[:3]))


def test_the_sample_has_the_fields_that_featflows_nodes_exchange():
    class All(Brightness):
        requires = tuple(SHAPES.keys() - {"keep", "filter_reason"})

    batch = sample_for(All())
    for name in All.requires:
        shape = SHAPES[name]
        assert batch.faces.fields[name].shape == (8, *shape)
        assert np.isfinite(batch.faces.fields[name]).all()
    inside = batch.faces.landmarks - batch.faces.box[:, None, :2]
    size = (batch.faces.box[:, 2:] - batch.faces.box[:, :2])[:, None]
    assert (inside > -0.05 * size).all()
    assert (inside < 1.05 * size).all()
    left_eye = batch.faces.landmarks[:, 36:42].mean(1)
    right_eye = batch.faces.landmarks[:, 42:48].mean(1)
    assert (left_eye[:, 0] < right_eye[:, 0]).all()  # image left first
    assert (batch.faces.landmarks[:, 8, 1] > batch.faces.landmarks[:, 57, 1]).all()  # chin lowest
    All.requires = ("aura",)
    with pytest.raises(FeatflowError, match="aura"):
        sample_for(All())
