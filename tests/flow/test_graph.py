import itertools

import pytest

from featflow.errors import OptionError, UnmetNeedsError
from featflow.flow import order_nodes


def ids(levels):
    return [[node.id for node in level] for level in levels]


def test_order_and_levels_do_not_depend_on_the_order_given(toys):
    make = toys.Arithmetic
    nodes = [
        toys.Detector(),
        make("lm", ("box",)),
        make("pose", ("lm",)),
        make("au", ("lm", "box")),
        make("all", ("pose", "au", "id")),
        make("id", ("box",)),
    ]
    wanted = [["face/toy"], ["toy/id", "toy/lm"], ["toy/au", "toy/pose"], ["toy/all"]]
    for order in itertools.permutations(nodes):
        assert ids(order_nodes(order)) == wanted


def test_a_face_node_that_requires_nothing_still_comes_after_the_detector(toys):
    assert ids(order_nodes([toys.Arithmetic("z", ()), toys.Detector()])) == [
        ["face/toy"],
        ["toy/z"],
    ]
    with pytest.raises(UnmetNeedsError, match="box"):
        order_nodes([toys.Arithmetic("z", ())])


def test_given_fields_stand_in_for_a_detector(toys):
    assert ids(order_nodes([toys.Arithmetic()], given=("box",))) == [["toy/a"]]
    with pytest.raises(OptionError, match="given with the input"):
        order_nodes([toys.Detector()], given=("box",))


def test_an_unmet_need_names_field_node_and_the_kinds_that_provide_it(toys, monkeypatch):
    from types import SimpleNamespace

    from featflow.nodes import registry

    cards = {"landmark/x": ("landmarks",), "landmark/y": ("landmarks",), "mesh/z": ("landmarks",)}
    monkeypatch.setattr(registry, "available", lambda: [*cards, "broken/card"])

    def card_of(node):
        from featflow.errors import CardError

        if node not in cards:
            raise CardError("broken")
        return SimpleNamespace(provides=cards[node])

    monkeypatch.setattr(registry, "card_of", card_of)
    nodes = [toys.Detector(), toys.Arithmetic("p", ("landmarks",))]
    with pytest.raises(UnmetNeedsError, match=r"toy/p needs 'landmarks'.*kind landmark or mesh$"):
        order_nodes(nodes)
    with pytest.raises(UnmetNeedsError, match="no registered node does"):
        order_nodes([toys.Detector(), toys.Arithmetic("p", ("nothing",))])


def test_two_providers_of_a_field_are_refused(toys):
    with pytest.raises(OptionError, match="face/toy and face/toy both provide 'box'"):
        order_nodes([toys.Detector(), toys.Detector()])


def test_a_circle_is_refused(toys):
    nodes = [toys.Detector(), toys.Arithmetic("a", ("b",)), toys.Arithmetic("b", ("a",))]
    with pytest.raises(UnmetNeedsError, match=r"circle: toy/a .*toy/b"):
        order_nodes(nodes)
