import pytest

from featflow.errors import CardError
from featflow.nodes._cards import read_card


@pytest.fixture
def write(tmp_path, card_text):
    def lay(old="", new=""):
        assert old in card_text
        path = tmp_path / "card.toml"
        path.write_text(card_text.replace(old, new, 1) if old else card_text + new)
        return path

    return lay


def test_a_card_is_read(write):
    card = read_card(write())
    assert card.id == "toy/foreign"
    assert card.commercial_use is True
    assert card.requires == ("box",)
    assert card.limits == ("means nothing",)
    assert card.metrics == {"error": 0.0}


KEYS = "id summary licence commercial_use size_bytes sha256 requires provides data method limits"


@pytest.mark.parametrize("key", [*KEYS.split(), "consent"])
def test_every_key_must_be_there(write, card_text, key):
    line = next(line for line in card_text.splitlines() if line.startswith(f"{key} ="))
    path = write(line + "\n", "")
    with pytest.raises(CardError, match=f"card.toml: key '{key}' is missing"):
        read_card(path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("licence", "license", "'licence' is missing"),
        ('data = "none"', 'data = "none"\norigin = "x"', "unknown key 'origin'"),
        ('data = "none"', 'data = "none"\nsource = "x"', "'source' must be dict, got str"),
        ('"Twice the score."', '" "', "'summary' has the unusable value"),
        ('"toy/foreign"', '"foreign"', "'id' has the unusable value"),
        ("commercial_use = true", "commercial_use = 1", "'commercial_use' must be bool, got int"),
        ("size_bytes = 0", "size_bytes = true", "'size_bytes' must be int, got bool"),
        ("size_bytes = 0", "size_bytes = -1", "'size_bytes' has the unusable value -1"),
        ("size_bytes = 0", "size_bytes = 5", "'sha256' and 'size_bytes' must both be set"),
        ('sha256 = ""', 'sha256 = "abc"', "'sha256' has the unusable value 'abc'"),
        ('["box"]', '"box"', "'requires' must be list, got str"),
        ('["box"]', "[1]", "'requires' must list strings"),
        ("error = 0.0", "error = 2020-01-01", "'metrics' has the unusable value"),
        ('id = "', "id = ", "not valid TOML"),
    ],
)
def test_a_malformed_key_is_named(write, old, new, told):
    with pytest.raises(CardError, match=f"card.toml: .*{told}"):
        read_card(write(old, new))


def test_a_missing_card_is_named(tmp_path):
    with pytest.raises(CardError, match=r"card\.toml: cannot be read"):
        read_card(tmp_path / "card.toml")


SOURCE = """
[source]
repository = "owner/net"
files = ["weights.pth", "config.json"]
format = "torch"
"""


def test_a_source_is_read(write):
    source = read_card(write(new=SOURCE)).source
    assert source.repository == "owner/net"
    assert source.files == ("weights.pth", "config.json")
    assert (source.format, source.revision, source.fallback, source.tensor_bytes) == (
        "torch",
        "",
        "",
        0,
    )
    more = SOURCE + 'revision = "v1.0"\nfallback = "old.pth"\ntensor_bytes = 12\n'
    source = read_card(write(new=more)).source
    assert (source.revision, source.fallback, source.tensor_bytes) == ("v1.0", "old.pth", 12)
    assert read_card(write()).source is None


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('repository = "owner/net"', "", "'repository' is missing"),
        ("repository", "where", "'repository' is missing"),
        ('format = "torch"', 'format = "torch"\nurl = "x"', "unknown key 'url'"),
        ('"owner/net"', '"net"', "'source.repository' has the unusable value 'net'"),
        ('"owner/net"', '"../net"', "'source.repository'"),
        ('["weights.pth", "config.json"]', "[]", "'source.files'"),
        ('"weights.pth"', '"../weights.pth"', "'source.files'"),
        ('"weights.pth"', '"..\\\\weights.pth"', "'source.files'"),
        ('"weights.pth"', '".."', "'source.files'"),
        ('"torch"', '"pickle"', "'source.format' has the unusable value 'pickle'"),
        ('"torch"', '"torch"\nrevision = "../x"', "'source.revision'"),
        ('"torch"', '"torch"\nfallback = "a/b"', "'source.fallback'"),
        ('"torch"', '"torch"\ntensor_bytes = -1', "'source.tensor_bytes'"),
        ('"torch"', '"torch"\ntensor_bytes = true', "'source.tensor_bytes'"),
    ],
)
def test_a_malformed_source_is_refused(write, old, new, told):
    assert old in SOURCE
    with pytest.raises(CardError, match=f"card.toml: .*{told}"):
        read_card(write(new=SOURCE.replace(old, new, 1)))


def test_weights_are_shipped_or_published_not_both(write, card_text, tmp_path):
    path = write(new=SOURCE)
    text = path.read_text().replace("size_bytes = 0", "size_bytes = 5")
    path.write_text(text.replace('sha256 = ""', f'sha256 = "{"a" * 64}"'))
    with pytest.raises(CardError, match="beside the card or have a \\[source\\], not both"):
        read_card(path)
