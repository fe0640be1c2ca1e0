import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from featflow.errors import CardError, NodeError, OptionError, UnknownNodeError
from featflow.hub import find
from featflow.nodes import available, card_of, get_node_class, make_node
from featflow.testing import check_node

ROOT = Path(__file__).parents[2]
BUILT_IN = [
    f"{p.parent.parent.name}/{p.parent.name}"
    for p in (ROOT / "featflow" / "nodes").glob("[!_]*/[!_]*/__init__.py")
]


def test_a_foreign_node_is_found_built_and_described(install):
    install({"toy/foreign": "toydist:Twice"})
    assert "toy/foreign" in available()
    assert available("toy") == ["toy/foreign"]
    assert "toydist" not in sys.modules
    assert card_of("toy/foreign").summary == "Twice the score."
    cls = get_node_class("toy", "foreign")
    assert cls.__name__ == "Twice"
    assert make_node("toy", "foreign", {"gain": 3.0}).gain == 3.0
    assert make_node("toy", cls).gain == 2.0
    node = cls()
    assert make_node("toy", node) is node


def test_broken_entry_points_do_not_break_listing(install, caplog):
    install({"toy/foreign": "toydist:Twice", "toy/gone": "no_such_module:X", "noslash": "a:B"})
    assert available("toy") == ["toy/foreign", "toy/gone"]
    assert "noslash" in caplog.text
    with pytest.raises(NodeError, match=r"toy/gone cannot be imported .*no_such_module"):
        get_node_class("toy", "gone")
    with pytest.raises(CardError, match="toy/gone"):
        card_of("toy/gone")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"toy/foreign": "toydist:np"}, "not a subclass of Node"),
        ({"toy/other": "toydist:Twice"}, "calls itself toy/foreign"),
        ({"toy/foreign": "toydist:Missing"}, "cannot be imported"),
    ],
)
def test_an_entry_point_that_is_no_such_node_is_named(install, entry, told):
    install(entry)
    kind, name = next(iter(entry)).split("/")
    with pytest.raises(NodeError, match=told):
        get_node_class(kind, name)


def test_unknown_names_list_the_known_ones(install):
    install({"toy/foreign": "toydist:Twice"})
    for call in (get_node_class, make_node):
        with pytest.raises(UnknownNodeError, match="'foreing'; known toy nodes: foreign"):
            call("toy", "foreing")
    with pytest.raises(UnknownNodeError, match="known toy nodes: foreign"):
        card_of("toy/foreing")


def test_options_are_checked_against_the_constructor(install):
    install({"toy/foreign": "toydist:Twice"})
    with pytest.raises(OptionError, match="no option gian; its options: gain, offset"):
        make_node("toy", "foreign", {"gian": 1})
    node = make_node("toy", "foreign")
    with pytest.raises(OptionError, match="already built"):
        make_node("toy", node, {"gain": 1})
    with pytest.raises(OptionError, match="cannot be used as a face node"):
        make_node("face", node)
    with pytest.raises(OptionError, match="a name, a Node or a class"):
        make_node("toy", 3)


def test_a_required_option_that_is_missing_is_named(install):
    install({"toy/foreign": "toydist:Twice"})
    cls = get_node_class("toy", "foreign")

    class Needs(cls):
        def __init__(self, path):
            super().__init__()

    with pytest.raises(OptionError, match="needs the option path"):
        make_node("toy", Needs)
    assert make_node("toy", Needs, {"path": "x"}).id == "toy/foreign"


def test_a_card_of_another_node_is_refused(install, card_text):
    install({"toy/other": "toydist:Twice"}, card=card_text)
    with pytest.raises(CardError, match="key 'id' is 'toy/foreign', not 'toy/other'"):
        card_of("toy/other")


def test_listing_imports_neither_torch_nor_a_node():
    code = (
        "import sys, featflow.nodes as n\n"
        "for name in n.available():\n"
        "    try: n.card_of(name)\n"
        "    except n.registry.CardError: pass\n"
        "bad = [m for m in sys.modules if m in ('torch', 'matplotlib', 'pandas', 'cv2')]\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("node", sorted(BUILT_IN))
def test_every_node_has_its_card_and_its_catalogue_folder(node):
    card = card_of(node)
    cls = get_node_class(*node.split("/"))
    assert set(card.requires) == set(cls.requires)
    assert set(card.provides) == set(cls.provides)
    folder = ROOT / "nodes" / node
    assert (folder / "README.md").is_file()
    if card.size_bytes:
        with (folder / "recipe.toml").open("rb") as file:
            tomllib.load(file)
        weights = list((ROOT / "featflow" / "nodes" / node).glob("*.safetensors"))
        assert card.size_bytes in [path.stat().st_size for path in weights]


@pytest.mark.parametrize("node", sorted(BUILT_IN))
def test_every_built_in_node_conforms(node):
    folder = ROOT / "featflow" / "nodes" / node
    if not list(folder.glob("*.safetensors")) and (ROOT / "nodes" / node / "recipe.toml").exists():
        pytest.skip("its weights have not been trained yet")
    card = card_of(node)
    if card.source is not None and find(card) is None:
        pytest.skip(f"its weights ({card.source.repository}) are not here")
    assert check_node(make_node(*node.split("/"))).node == node


def test_catalogue_and_registry_list_the_same_nodes():
    catalogue = {
        f"{p.parent.name}/{p.name}" for p in (ROOT / "nodes").glob("[!_.]*/[!_.]*") if p.is_dir()
    }
    assert catalogue == set(BUILT_IN)
    assert set(BUILT_IN) <= set(available())
