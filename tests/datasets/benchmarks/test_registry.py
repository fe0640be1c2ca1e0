"""The registry, the catalogue ``datasets/``, and what is said where a set is not there."""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path

import pytest

from featflow.datasets.benchmarks import BENCHMARKS, ROOT_VARIABLE, load_benchmark
from featflow.errors import MissingInputError, OptionError

CATALOGUE = Path(__file__).parents[3] / "datasets"
TRAINED_ON = {"ferplus", "labelled_faces"}
ISSUE = (
    "disfa disfa_plus bp4d affectnet raf_db lfw calfw cplfw 300w wider_face gaze360 mpiifacegaze "
    "columbia_gaze biwi aflw2000"
)
SECTIONS = ("Files", "Protocol", "Licence", "How to get it", "Citation", "Consent")


def test_every_benchmark_has_its_page_and_every_page_its_benchmark():
    folders = {path.name for path in CATALOGUE.iterdir() if path.is_dir()}
    assert folders == BENCHMARKS.keys() | TRAINED_ON
    assert BENCHMARKS.keys() == set(ISSUE.split())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_manifest_says_what_the_loader_expects(name):
    known = BENCHMARKS[name]
    manifest = tomllib.loads((CATALOGUE / name / "manifest.toml").read_text())
    assert manifest["name"] == known.name == name
    assert manifest["title"] == known.title
    assert tuple(manifest["kinds"]) == known.kinds
    assert tuple(manifest["expected"]) == known.expected
    assert manifest["distributed"] is False
    assert manifest["pictures"] > 0
    assert manifest["licence"]
    assert manifest["splits"]
    assert manifest["url"] == known.url
    assert known.url.startswith("http")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_page_tells_files_protocol_licence_access_and_citation(name):
    text = (CATALOGUE / name / "README.md").read_text()
    assert text.startswith(f"# {BENCHMARKS[name].title}\n")
    parts = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    assert tuple(parts) == SECTIONS
    assert all(len(body.strip()) > 10 for body in parts.values())
    assert f"--data {name} " in text
    assert re.search(r"\b(19|20)\d\d\b", parts["Citation"])
    assert "<http" in parts["How to get it"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_set_that_is_not_there_is_one_clear_error(name, tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)  # nothing may be fetched
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    known = BENCHMARKS[name]
    with pytest.raises(MissingInputError, match=ROOT_VARIABLE) as unset:
        load_benchmark(name)
    with pytest.raises(MissingInputError) as empty:
        load_benchmark(name, tmp_path)
    for error in (unset, empty):
        text = str(error.value)
        assert f"datasets/{name}/README.md" in text
        assert "does not download" in text
        assert known.title in text
        assert known.url in text
        assert all(each in text for each in known.expected)
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    with pytest.raises(MissingInputError, match=re.escape(str(tmp_path / name))):
        load_benchmark(name)


def test_the_folder_of_all_sets(tmp_path, monkeypatch):
    path = tmp_path / "columbia_gaze" / "0001_2m_0P_0V_0H.jpg"
    path.parent.mkdir()
    path.touch()
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    assert load_benchmark("columbia_gaze").inputs == (path,)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(MissingInputError, match="other"):
        load_benchmark("columbia_gaze", other)  # what is named comes first


def test_an_unknown_set_lists_those_that_are():
    with pytest.raises(OptionError, match="no data set is called 'ck'; known: disfa, disfa_plus"):
        load_benchmark("ck")
