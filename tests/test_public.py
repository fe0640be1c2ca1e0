"""What every user meets first: import cost, public names, docstrings, layout, safety."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import featflow

ROOT = Path(__file__).parents[1]
PACKAGE = Path(featflow.__file__).parent
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "featflow."))


def fresh(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout


def test_import_brings_in_no_heavy_library():
    heavy = [
        "torch",
        "matplotlib",
        "pandas",
        "polars",
        "cv2",
        "av",
        "PIL",
        "scipy",
        "sklearn",
        "pyarrow",
    ]
    code = f"import sys, featflow; print(sorted(set({heavy!r}) & set(sys.modules)))"
    assert fresh(code).strip() == "[]"


def test_import_takes_under_half_a_second():
    code = "import time; t = time.perf_counter(); import featflow;print(time.perf_counter() - t)"
    assert min(float(fresh(code)) for _ in range(3)) < 0.5


def test_import_changes_no_process_state():
    code = """
import os, sys, warnings
import cv2, matplotlib, pandas, polars, torch  # what they change themselves is theirs
before = dict(os.environ), list(warnings.filters)
grad, threads = torch.is_grad_enabled(), torch.get_num_threads()
import featflow; featflow.Detector
assert (dict(os.environ), list(warnings.filters)) == before
assert (torch.is_grad_enabled(), torch.get_num_threads()) == (grad, threads)
print("same")
"""
    assert fresh(code).strip() == "same"


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Detectorr"):
        featflow.Detectorr  # noqa: B018


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_imports_and_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    for attribute in getattr(module, "__all__", ()):
        assert getattr(module, attribute) is not None
    missing = []
    for attribute, value in vars(module).items():
        if attribute.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            if not inspect.getdoc(value):
                missing.append(attribute)
            if inspect.isclass(value):
                missing += [
                    f"{attribute}.{method}"
                    for method, function in vars(value).items()
                    if not method.startswith("_")
                    and inspect.isfunction(function)
                    and not inspect.getdoc(getattr(value, method))
                ]
    assert missing == []


def sources():
    return list(PACKAGE.rglob("*.py"))


def test_no_file_is_long_and_no_function_fills_more_than_a_screen():
    long = []
    for path in sources():
        text = path.read_text()
        if text.count("\n") > 400:
            long.append(path.name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                doc = ast.get_docstring(node, clean=False) or ""
                if node.end_lineno - node.lineno + 1 - len(doc.splitlines()) > 60:
                    long.append(f"{path.name}: {node.name}")
    assert long == []


def calls(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


def test_no_unsafe_call_anywhere():
    unsafe = []
    for path in sources():
        for function, keywords in calls(path):
            bad = function in ("eval", "exec", "os.system", "pickle.load", "pickle.loads")
            bad |= keywords.get("shell") == "True" or keywords.get("allow_pickle") == "True"
            bad |= function == "torch.load" and keywords.get("weights_only") != "True"
            if bad:
                unsafe.append(f"{path.name}: {function}")
    assert unsafe == []


def test_library_never_prints_or_exits():
    found = [
        f"{path.relative_to(PACKAGE)}: {function}"
        for path in sources()
        for function, _ in calls(path)
        if function in ("print", "sys.exit", "exit", "quit") and path.parent.name != "cli"
    ]
    assert found == []


def test_catalogues_hold_no_importable_code():
    for folder in ("nodes", "datasets"):
        assert not list((ROOT / folder).rglob("*.py"))


def test_embedded_weights_stay_small():
    total = sum(p.stat().st_size for p in PACKAGE.rglob("*.safetensors"))
    assert 0 < total <= 16e6


def test_version_is_told_once():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == featflow.__version__
