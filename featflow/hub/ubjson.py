"""Reading UBJSON, the binary form of JSON that XGBoost keeps its models in.

Draft 12 of https://ubjson.org, without its high-precision numbers and typed objects.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import WeightsError

_NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_WHOLE = "iUIlL"
_FIXED = {"Z": None, "T": True, "F": False}
_MAX_DEPTH = 100


def parse_ubjson(data: bytes) -> Any:
    """One value, as :func:`json.loads` would give it.

    Arrays whose elements share a type that the file names are numpy arrays.

    Raises:
        WeightsError: it is cut short, has bytes to spare, or is not UBJSON.
    """
    reader = _Reader(data)
    value = reader.value(reader.marker(), 0)
    if reader.at != len(data):
        raise reader.error("bytes follow the end")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def error(self, what: str) -> WeightsError:
        return WeightsError(f"not usable UBJSON: {what} (at byte {self.at} of {len(self.data)})")

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise self.error(f"{count} bytes are promised that are not there")
        self.at += count
        return self.data[self.at - count : self.at]

    def marker(self) -> str:
        return self.take(1).decode("latin-1")

    def peek(self) -> str:
        return self.data[self.at : self.at + 1].decode("latin-1")

    def numbers(self, marker: str, count: int) -> NDArray[Any]:
        kind = np.dtype(_NUMBERS[marker])
        found = np.frombuffer(self.take(count * kind.itemsize), kind)
        return found.astype(kind.newbyteorder("="))

    def whole(self) -> int:
        marker = self.marker()
        if marker not in _WHOLE:
            raise self.error(f"a length begins with {marker!r}")
        return int(self.numbers(marker, 1)[0])

    def text(self) -> str:
        try:
            return self.take(self.whole()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error("text is not UTF-8") from error

    def value(self, marker: str, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise self.error("nested too deeply")
        if marker in _FIXED:
            return _FIXED[marker]
        if marker in _NUMBERS:
            return self.numbers(marker, 1)[0].item()
        if marker == "S":
            return self.text()
        if marker == "C":
            return self.marker()
        if marker == "[":
            return self.array(depth)
        if marker == "{":
            return self.object(depth)
        raise self.error(f"unknown marker {marker!r}")

    def array(self, depth: int) -> Any:
        kind, count = self.head()
        if kind:
            if kind not in _NUMBERS or count is None:
                raise self.error(f"an array of {kind!r}")
            return self.numbers(kind, count)
        items: list[Any] = []
        while len(items) != count if count is not None else self.peek() != "]":
            items.append(self.value(self.marker(), depth + 1))
        self.take(0 if count is not None else 1)
        return items

    def object(self, depth: int) -> dict[str, Any]:
        kind, count = self.head()
        if kind:
            raise self.error("an object of one type")
        items: dict[str, Any] = {}
        read = 0
        while read != count if count is not None else self.peek() != "}":
            key = self.text()
            items[key] = self.value(self.marker(), depth + 1)
            read += 1
        self.take(0 if count is not None else 1)
        return items

    def head(self) -> tuple[str, int | None]:
        """Type and count of a container, where it states them."""
        kind, count = "", None
        if self.peek() == "$":
            self.take(1)
            kind = self.marker()
        if self.peek() == "#":
            self.take(1)
            count = self.whole()
        return kind, count
