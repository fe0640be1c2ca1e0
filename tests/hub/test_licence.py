import numpy as np
import pytest

from featflow.errors import CardError, LicenceError, OptionError
from featflow.flow.node import Node
from featflow.hub import require_commercial
from featflow.hub.licence import card_beside, tell_licence
from featflow.nodes import make_node


def test_nodes_that_may_not_be_sold_are_named():
    free = [make_node("face", "tiny"), make_node("pose", "mlp")]
    require_commercial(free)
    bound = [make_node("face", "img2pose"), make_node("identity", "arcface")]
    with pytest.raises(LicenceError) as told:
        require_commercial([*free, *bound])
    text = str(told.value)
    assert "face/img2pose (CC-BY-NC-4.0)" in text
    assert "identity/arcface (LicenseRef-InsightFace-non-commercial-research)" in text
    assert "tiny" not in text
    assert isinstance(told.value, OptionError)


class Own(Node):
    kind, name, unit = "toy", "own", "face"
    provides = ("x",)

    def pre_process(self, batch):
        return None

    def process(self, inputs):
        return None

    def post_process(self, batch, outputs):
        return {"x": np.zeros(0)}


def test_a_node_without_a_card_says_nothing_about_its_licence():
    with pytest.raises(LicenceError, match=r"toy/own \(no card\.toml says so\)"):
        require_commercial([Own()])
    with pytest.raises(CardError):
        card_beside(Own)


def test_a_licence_is_told_once(caplog):
    for _ in range(3):
        tell_licence("toy/once", "CC-BY-NC-4.0", False)
        tell_licence("toy/free", "MIT", True)
    assert [record.getMessage() for record in caplog.records] == [
        "toy/once: weights under CC-BY-NC-4.0; commercial use is not allowed, or not known to be",
        "toy/free: weights under MIT; commercial use is allowed",
    ]
