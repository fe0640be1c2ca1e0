"""Reading skops files as plain data: no class of theirs is looked up, imported or built.

A skops file is a zip archive of ``schema.json``, a tree of nodes, and of the arrays and bytes that
the nodes name (https://skops.readthedocs.io). The skops library builds whatever objects
the tree asks for and a caller trusts. Here a node becomes a number, text, list, dictionary, array
or :class:`Record`, and only if its loader and its type stand in :data:`ALLOWED_TYPES`.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import WeightsError

SCHEMA = "schema.json"
_PROTOCOLS = (0, 1, 2, 3)  # the nodes on the list are the same in all of them
_MAX_BYTES = 2 << 30
_MAX_SCHEMA_BYTES = 64 << 20

_WRAPPERS = ("XGBClassifier", "SVMClassifier", "EmoSVMClassifier")
_SCALARS = ("bool", "int32", "int64", "uint32", "uint64", "float32", "float64", "str_")

ALLOWED_TYPES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "JsonNode": frozenset({"builtins.str"}),
        "DictNode": frozenset({"builtins.dict", "collections.OrderedDict"}),
        "ListNode": frozenset({"builtins.list"}),
        "TupleNode": frozenset({"builtins.tuple"}),
        "BytesNode": frozenset({"builtins.bytes"}),
        "BytearrayNode": frozenset({"builtins.bytearray"}),
        "NdArrayNode": frozenset(f"numpy.{name}" for name in ("ndarray", "bool_", *_SCALARS)),
        "TypeNode": frozenset(f"builtins.{name}" for name in ("str", "int", "float", "bool")),
        "ObjectNode": frozenset(
            {
                "sklearn.decomposition._pca.PCA",
                "sklearn.isotonic.IsotonicRegression",
                "sklearn.preprocessing._data.StandardScaler",
                "sklearn.preprocessing._label.LabelEncoder",
                "sklearn.svm._classes.LinearSVC",
                "xgboost.compat.XGBoostLabelEncoder",
                "xgboost.core.Booster",
                "xgboost.sklearn.XGBClassifier",
                *(f"__main__.{name}" for name in _WRAPPERS),
                *(f"feat.au_detectors.StatLearning.SL_test.{name}" for name in _WRAPPERS),
                *(f"feat.emo_detectors.StatLearning.EmoSL_test.{name}" for name in _WRAPPERS),
            }
        ),
    }
)
"""Loader of a node to the types that it may stand for. Everything else is refused by name."""


@dataclass(frozen=True, slots=True)
class Record:
    """An object of a skops file as data.

    Attributes:
        type: its class, such as ``sklearn.svm._classes.LinearSVC``.
        attributes: what it had; numbers, text, lists, dictionaries, arrays, bytes and records.
    """

    type: str
    attributes: Mapping[str, Any]


def is_skops(path: str | Path) -> bool:
    """Whether a file is a skops file by its content."""
    try:
        with zipfile.ZipFile(path) as archive:
            return SCHEMA in archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False  # ValueError: a name that is no text; NotImplementedError: an unknown version


def read_skops(path: str | Path) -> Any:
    """What a skops file holds, as plain data.

    Raises:
        WeightsError: the file is missing, damaged or too large, or holds a type that is not in
            :data:`ALLOWED_TYPES`; all such types are named.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            reader = _Reader(archive)
            value = reader.value(_schema(archive))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except (
        *(KeyError, TypeError, ValueError, AttributeError, EOFError),
        *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
    ) as error:
        # RuntimeError is also what zipfile says of a password, and holds RecursionError.
        reason = (str(error).splitlines() or [""])[0]
        raise WeightsError(
            f"{path}: not a usable skops file ({type(error).__name__}: {reason})"
        ) from error
    if reader.refused:
        raise WeightsError(
            f"{path}: holds types that are not on featflow's list, and was not read (nothing in "
            f"it was run): {', '.join(sorted(reader.refused))}"
        )
    return value


def _schema(archive: zipfile.ZipFile) -> Any:
    infos = archive.infolist()
    if len({info.filename for info in infos}) != len(infos):
        raise WeightsError("has two files of one name")
    if sum(info.file_size for info in infos) > _MAX_BYTES:
        raise WeightsError(f"unpacks to more than {_MAX_BYTES >> 30} GiB")
    if archive.getinfo(SCHEMA).file_size > _MAX_SCHEMA_BYTES:
        raise WeightsError(f"its {SCHEMA} is larger than {_MAX_SCHEMA_BYTES >> 20} MiB")
    schema = json.loads(archive.read(SCHEMA))
    protocol = schema["protocol"]
    if protocol not in _PROTOCOLS:
        known = f"{_PROTOCOLS[0]} to {_PROTOCOLS[-1]}"
        raise WeightsError(f"has skops protocol {protocol!r}; known protocols: {known}")
    return schema


class _Reader:
    """Nodes to values; types that are not allowed are noted and become None."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.refused: set[str] = set()
        self._arrays: dict[str, NDArray[Any]] = {}

    def value(self, node: Mapping[str, Any]) -> Any:
        loader, kind = node["__loader__"], f"{node['__module__']}.{node['__class__']}"
        if kind not in ALLOWED_TYPES.get(loader, ()):
            self.refused.add(f"{kind} ({loader})")
            return None
        readers: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "JsonNode": lambda n: json.loads(n["content"]),
            "DictNode": self.dictionary,
            "ListNode": self.items,
            "TupleNode": self.items,
            "BytesNode": lambda n: self.archive.read(n["file"]),
            "BytearrayNode": lambda n: self.archive.read(n["file"]),
            "NdArrayNode": self.array,
            "TypeNode": lambda _: kind,
            "ObjectNode": lambda n: Record(kind, self.attributes(n)),
        }
        return readers[loader](node)

    def items(self, node: Mapping[str, Any]) -> list[Any]:
        return [self.value(item) for item in node["content"]]

    def dictionary(self, node: Mapping[str, Any]) -> dict[str, Any]:
        self.value(node["key_types"])  # keys stay text, but their types may be refused
        return {key: self.value(item) for key, item in node["content"].items()}

    def attributes(self, node: Mapping[str, Any]) -> dict[str, Any]:
        content = node.get("content")
        found = {} if content is None else self.value(content)
        if found is None:  # JSON null, or refused
            return {}
        if not isinstance(found, dict):
            raise WeightsError(f"the attributes of {node['__class__']} are no dictionary")
        return found

    def array(self, node: Mapping[str, Any]) -> Any:
        if node["type"] == "json":
            return self.items(node)  # an array of objects
        name = node["file"]
        if name not in self._arrays:
            self._arrays[name] = parse_npy(self.archive.read(name))
        return self._arrays[name]


def parse_npy(data: bytes) -> NDArray[Any]:
    """An array of numbers, booleans or text from the bytes of an ``.npy`` file.

    Raises:
        WeightsError: it is something else, or its size is not what its header says.
    """
    stream = io.BytesIO(data)
    try:
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, by_column, dtype = read[np.lib.format.read_magic(stream)](stream)
    except (KeyError, TypeError, ValueError, SyntaxError, TokenError) as error:
        raise WeightsError(f"holds an array that is no .npy file ({error})") from error
    count = int(np.prod(shape, dtype=object)) if shape else 1
    # Objects would be pickled, and a header may promise more than memory holds.
    if dtype.kind not in "biufUS" or count * dtype.itemsize != len(data) - stream.tell():
        raise WeightsError(f"holds an array {shape} of {dtype} that does not fit its bytes")
    found = np.frombuffer(data, dtype, count, stream.tell())
    return found.reshape(shape, order="F" if by_column else "C")
