"""skops files against what skops, scikit-learn and XGBoost make of them, and hostile ones."""

import copy
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from featflow.errors import WeightsError
from featflow.features.hog_classifiers import SVM_REGIONS, XGB_REGIONS, HogClassifiers
from featflow.features.trees import TreeEnsemble
from featflow.hub import convert_checkpoint, read_checkpoint
from featflow.hub.skops import ALLOWED_TYPES, Record, parse_npy, read_skops
from featflow.hub.skops_models import booster_document, hog_classifiers, skops_arrays
from featflow.nodes import make_node

EXPECTED = Path(__file__).parent / "expected"
COLUMNS = {"happ": "happiness", "sad": "sadness", "sur": "surprise", "AU1": "AU01", "AU7": "AU07"}


def node(loader, kind, **more):
    module, _, name = kind.rpartition(".")
    return {"__class__": name, "__module__": module, "__loader__": loader, "__id__": 1, **more}


def plain(value):
    return node("JsonNode", "builtins.str", content=json.dumps(value), is_json=True)


def listed(*items):
    return node("ListNode", "builtins.list", content=list(items))


def mapped(**items):
    types = listed(*(node("TypeNode", "builtins.str") for _ in items))
    return node("DictNode", "builtins.dict", content=items, key_types=types)


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def lay(path, root, protocol=2, **files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr("schema.json", json.dumps({**root, "protocol": protocol}))
    return path


@pytest.mark.parametrize("name", ["xgb", "svm", "svm_emo"])
def test_files_of_the_library_predict_what_the_libraries_do(name):
    expected = np.load(EXPECTED / "predictions.npz")
    made = hog_classifiers(read_skops(EXPECTED / f"{name}.skops"))
    values = made.predict(expected["hog"], expected["points"])
    keys = [key for key in expected.files if key.startswith(f"{name}.")]
    for key in keys:
        output = key.split(".")[1]
        column = COLUMNS.get(output, output)
        found = values[:, made.columns.index(column)]
        assert 0.1 < found.mean() < 0.9
        np.testing.assert_allclose(found, expected[key], atol=1e-6, err_msg=key)
    assert np.isfinite(values).any(0).sum() == len(keys)


def test_each_kind_has_the_face_parts_of_its_training():
    kinds = {"xgb": XGB_REGIONS, "svm": SVM_REGIONS, "svm_emo": {}}
    for name, regions in kinds.items():
        assert hog_classifiers(read_skops(EXPECTED / f"{name}.skops")).regions == regions


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("whiten", [True, False])
def test_projections_are_those_of_scikit_learn_whatever_its_options(mean, spread, whiten):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(2, 3, (60, 12)), rng.integers(0, 2, 60)
    scaler = StandardScaler(with_mean=mean, with_std=spread).fit(features)
    pca = PCA(4, whiten=whiten).fit(scaler.transform(features))
    expected = pca.transform(scaler.transform(features))
    svc = LinearSVC().fit(np.c_[expected, np.zeros((60, 136))], labels)
    parts = {
        "scaler_full": Record("sklearn.preprocessing._data.StandardScaler", vars(scaler)),
        "pca_model_full": Record("sklearn.decomposition._pca.PCA", vars(pca)),
        "classifiers": {"AU5": Record("sklearn.svm._classes.LinearSVC", vars(svc))},
    }
    made = hog_classifiers(Record("__main__.SVMClassifier", parts))
    np.testing.assert_allclose(made.projections["full"](features), expected, atol=1e-9)


def test_converted_once_a_node_loads_it_and_the_file_itself(tmp_path):
    source = tmp_path / "xgb_au_classifier_v2.skops"
    source.write_bytes((EXPECTED / "xgb.skops").read_bytes())
    read = read_checkpoint(source)
    out = convert_checkpoint(source)
    assert out.name == "xgb_au_classifier_v2.safetensors"
    written = read_checkpoint(out)
    assert read.keys() == written.keys()
    assert all(torch.equal(read[key], written[key]) for key in read)
    assert read["projection.full.components"].dtype == torch.float64  # as exact as the file
    expected = np.load(EXPECTED / "predictions.npz")
    for path in (source, out, tmp_path):
        made = make_node("au", "xgb", {"weights": path})
        made.load()
        values = made.process((expected["hog"], expected["points"]))
        np.testing.assert_allclose(values[:, 0], expected["xgb.AU1"], atol=1e-6)


def test_every_kind_of_value_is_read(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    root = mapped(
        numbers=listed(plain(1), plain(2.5), plain(None), plain(True)),
        pair=node("TupleNode", "builtins.tuple", content=[plain("a"), plain("b")]),
        array=node("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy"),
        column=node("NdArrayNode", "numpy.ndarray", type="numpy", file="2.npy"),
        scalar=node("NdArrayNode", "numpy.int64", type="numpy", file="3.npy"),
        texts=node("NdArrayNode", "numpy.ndarray", type="json", content=[plain("x")]),
        data=node("BytesNode", "builtins.bytes", file="4.bin"),
        more=node("BytearrayNode", "builtins.bytearray", file="4.bin"),
        thing=node("ObjectNode", "sklearn.svm._classes.LinearSVC", content=mapped(C=plain(1))),
        bare=node("ObjectNode", "xgboost.core.Booster"),
    )
    files = {"1.npy": npy(array), "2.npy": npy(array.T), "3.npy": npy(np.int64(7)), "4.bin": b"ab"}
    found = read_skops(lay(tmp_path / "w.skops", root, **files))
    assert found["numbers"] == [1, 2.5, None, True]
    assert found["pair"] == ["a", "b"]
    np.testing.assert_array_equal(found["array"], array)
    np.testing.assert_array_equal(found["column"], array.T)
    assert found["scalar"].shape == ()
    assert found["scalar"] == 7
    assert found["texts"] == ["x"]
    assert found["data"] == found["more"] == b"ab"
    assert found["thing"] == Record("sklearn.svm._classes.LinearSVC", {"C": 1})
    assert found["bare"].attributes == {}


HOSTILE = {
    "a function": (node("FunctionNode", "builtins.eval"), "builtins.eval (FunctionNode)"),
    "a type": (node("TypeNode", "subprocess.Popen"), "subprocess.Popen (TypeNode)"),
    "an object": (
        node("ObjectNode", "trap.Trap", content=mapped(a=plain(1))),
        "trap.Trap (ObjectNode)",
    ),
    "a constructor": (
        node("ConstructorFromReduceNode", "trap.Trap", content=listed(plain("x"))),
        "trap.Trap (ConstructorFromReduceNode)",
    ),
    "a method": (
        node("MethodNode", "trap.Trap", content={"func": "go", "obj": plain(1)}),
        "trap.Trap (MethodNode)",
    ),
    "an operator": (
        node("OperatorFuncNode", "operator.methodcaller", attrs=listed(plain("system"))),
        "operator.methodcaller (OperatorFuncNode)",
    ),
    "a partial": (node("PartialNode", "functools.partial"), "functools.partial (PartialNode)"),
    "an allowed type with another loader": (
        node("FunctionNode", "builtins.dict"),
        "builtins.dict (FunctionNode)",
    ),
    "an array of another type": (
        node("NdArrayNode", "trap.Trap", type="numpy", file="1.npy"),
        "trap.Trap (NdArrayNode)",
    ),
    "a key type": (
        node(
            "DictNode",
            "builtins.dict",
            content={},
            key_types=listed(node("TypeNode", "trap.Trap")),
        ),
        "trap.Trap (TypeNode)",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_on_the_list_is_refused_by_name(tmp_path, monkeypatch, name):
    poison, told = HOSTILE[name]
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    root = node("ObjectNode", "__main__.XGBClassifier", content=mapped(classifiers=poison))
    path = lay(tmp_path / "w.skops", root)
    for read in (read_skops, read_checkpoint, convert_checkpoint):
        with pytest.raises(WeightsError, match=r"w\.skops: holds types that are not on") as error:
            read(path)
        assert told in str(error.value)
    assert not (tmp_path / "ran").exists()
    assert "trap" not in sys.modules
    assert not list(tmp_path.glob("*.safetensors"))
    # The trap is real: importing the module springs it.
    __import__("trap")
    del sys.modules["trap"]
    assert (tmp_path / "ran").exists()


def test_all_refused_types_are_named_at_once(tmp_path):
    root = listed(node("FunctionNode", "os.system"), node("TypeNode", "a.B"), plain(1))
    with pytest.raises(WeightsError, match=r"a\.B \(TypeNode\), os\.system \(FunctionNode\)"):
        read_skops(lay(tmp_path / "w.skops", root))


def test_nothing_is_imported_for_allowed_types(tmp_path, monkeypatch):
    kinds = sorted(ALLOWED_TYPES["ObjectNode"])
    for kind in kinds:
        monkeypatch.setitem(sys.modules, kind.split(".")[0], None)  # importing it would fail
    path = lay(tmp_path / "w.skops", listed(*(node("ObjectNode", kind) for kind in kinds)))
    assert [record.type for record in read_skops(path)] == kinds


def without(path, target, change):
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(files.pop("schema.json"))
    change(schema["content"]["content"])
    return lay(target, {k: v for k, v in schema.items() if k != "protocol"}, **files)


def classifier(content, key):
    return content["classifiers"]["content"][key]["content"]["content"]


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("svm", lambda c: c.pop("classifiers"), "SVMClassifier in it has no 'classifiers'"),
        ("svm", lambda c: c.update(classifiers=plain({})), "holds no classifiers"),
        ("svm", lambda c: c.pop("scaler_upper"), "no projection for the upper face"),
        ("svm", lambda c: c.pop("pca_model_upper"), "has no 'pca_model_upper'"),
        ("svm", lambda c: classifier(c, "AU1").pop("coef_"), "LinearSVC in it has no 'coef_'"),
        (
            "svm",
            lambda c: classifier(c, "AU1").update(classes_=plain([1, 2])),
            r"tells \[1, 2\] apart",
        ),
        (
            "svm",
            lambda c: c["classifiers"]["content"].update(AU3=plain(1)),
            "classifier of 'AU03', which is no known output",
        ),
        (
            "svm",
            lambda c: c["classifiers"]["content"].update(AU2=plain(1)),
            "classifier 'AU2' is a int, which is not evaluated",
        ),
        ("xgb", lambda c: classifier(c, "AU1").pop("_Booster"), "has no '_Booster'"),
        (
            "xgb",
            lambda c: classifier(c, "AU1").update(missing=plain(0.0)),
            r"takes 0\.0 for a missing value",
        ),
        (
            "xgb",
            lambda c: c["calibrators"]["content"]["AU1"]["content"]["content"].update(
                out_of_bounds=plain("nan")
            ),
            "no value beyond its ends",
        ),
    ],
)
def test_a_model_that_cannot_be_evaluated_is_told(tmp_path, name, change, told):
    path = without(EXPECTED / f"{name}.skops", tmp_path / "w.skops", change)
    with pytest.raises(WeightsError, match=rf"w\.skops: .*{told}"):
        skops_arrays(path)


def cut(path):
    path.write_bytes((EXPECTED / "svm.skops").read_bytes()[:-400])


def flipped(path):
    data = bytearray((EXPECTED / "svm.skops").read_bytes())
    data[600] ^= 255
    path.write_bytes(data)


def twice(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", "{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("schema.json", "{}")


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b" " * (65 << 20))


def deep(path):
    node = '{"__loader__":"ListNode","__module__":"builtins","__class__":"list","content":['
    schema = node * 20000 + "]}" * 19999 + '],"protocol":2}'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", schema)


LATER = plain(1)
DAMAGED = {
    "cut short": (cut, "not a usable skops file|cannot be read"),
    "bits flipped": (flipped, "not a usable skops file"),
    "two of a name": (twice, "two files of one name"),
    "a bomb": (bomb, "larger than 64 MiB"),
    "deep": (deep, "not a usable skops file"),
    "no protocol": (lambda p: lay(p, {}, protocol=None), "protocol None"),
    "later protocol": (lambda p: lay(p, LATER, protocol=9), "protocol 9; known protocols: 0 to 3"),
    "no loader": (lambda p: lay(p, {"content": 1}), "not a usable skops file"),
    "a list": (lambda p: lay(p, listed(plain(1), 5)), "not a usable skops file"),
    "no such file": (
        lambda p: lay(p, node("NdArrayNode", "numpy.ndarray", type="numpy", file="x.npy")),
        "not a usable skops file .*x.npy",
    ),
    "odd attributes": (
        lambda p: lay(p, node("ObjectNode", "xgboost.core.Booster", content=plain([1]))),
        "attributes of Booster are no dictionary",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_one_error(tmp_path, name):
    damage, told = DAMAGED[name]
    damage(tmp_path / "w.skops")
    with pytest.raises(WeightsError, match=rf"w\.skops: .*({told})") as error:
        read_skops(tmp_path / "w.skops")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.skops: cannot be read"):
        read_skops(tmp_path / "none.skops")


def test_arrays_of_objects_are_not_unpickled():
    with pytest.raises(WeightsError, match="of object"):
        parse_npy(npy(np.array([print, 1], object)))


@pytest.mark.parametrize("array", [np.arange(5), np.array(3.5), np.eye(3, dtype="f4").T, ["ab"]])
def test_arrays_are_what_was_saved(array):
    found = parse_npy(npy(array))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.asarray(array).dtype


def test_an_array_must_be_as_long_as_it_says():
    data = npy(np.arange(5.0))
    unclosed = data.replace(b"(5,), }", b"(5,),  ")
    later = b"\x93NUMPY\x09\x00" + data[8:]
    for wrong in (data[:-8], data + b"12345678", later, unclosed, b"x"):
        with pytest.raises(WeightsError, match="array"):
            parse_npy(wrong)
    promised = data.replace(b"(5,), }        ", b"(999999999,), }")
    assert promised != data
    assert len(promised) == len(data)
    with pytest.raises(WeightsError, match="array"):
        parse_npy(promised)


def test_boosters_as_json_with_and_without_their_training():
    path = Path(__file__).parents[1] / "features" / "expected" / "xgboost_logistic.json"
    model = json.loads(path.read_text())
    snapshot = {"Config": {}, "Model": model}
    expected = TreeEnsemble.from_xgboost(model).arrays()
    for document in (model, snapshot):
        found = TreeEnsemble.from_xgboost(booster_document(json.dumps(document).encode()))
        assert all(np.array_equal(found.arrays()[k], v) for k, v in expected.items())


@pytest.mark.parametrize("data", [b"binf\0\0", b"CONFIG-offset:1", b"", b'{"a": ', b'{"Model": 1}'])
def test_other_boosters_are_refused(data):
    with pytest.raises(WeightsError, match="a Booster"):
        booster_document(data)


def test_early_stopping_leaves_the_later_trees_out():
    """Beside the fixture's own: rounds of several trees."""
    path = Path(__file__).parents[1] / "features" / "expected" / "xgboost_logistic.json"
    model = json.loads(path.read_text())
    stopped, cut_off = copy.deepcopy(model), copy.deepcopy(model)
    stopped["learner"]["attributes"]["best_iteration"] = "2"
    booster = stopped["learner"]["gradient_booster"]["model"]
    booster["gbtree_model_param"]["num_parallel_tree"] = "2"
    trees = cut_off["learner"]["gradient_booster"]["model"]["trees"]
    cut_off["learner"]["gradient_booster"]["model"]["trees"] = trees[:6]
    found, expected = (TreeEnsemble.from_xgboost(each).arrays() for each in (stopped, cut_off))
    assert len(trees) > 6
    assert all(np.array_equal(found[key], value) for key, value in expected.items())


def test_arrays_make_the_same_classifiers_again():
    made = hog_classifiers(read_skops(EXPECTED / "xgb.skops"))
    again = HogClassifiers.from_arrays(made.arrays(), made.columns, made.regions)
    rng = np.random.default_rng(0)
    hog, points = rng.normal(size=(9, 20)), rng.integers(0, 112, (9, 68, 2))
    np.testing.assert_array_equal(made.predict(hog, points), again.predict(hog, points))
