"""TensorBoard: writing event files, and reading them back without TensorBoard.

An event file is a row of records: the length of the content (8 bytes), a checksum of the length
(4), the content, a checksum of the content (4). The content is a protocol buffer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import InputError, MissingExtraError, MissingInputError
from featflow.train.callbacks import Callback

if TYPE_CHECKING:
    from featflow.train.trainer import Trainer

_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number of an event file.

    Attributes:
        tag: its name.
        step: of the run.
        value: the number.
        wall_time: seconds since 1970.
    """

    tag: str
    step: int
    value: float
    wall_time: float


class EventReader:
    """Reads an event file that may still grow.

    Args:
        path: the file.

    Attributes:
        offset: bytes that were read.

    Raises:
        MissingInputError: there is no such file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.offset = Path(path), 0
        if not self.path.is_file():
            raise MissingInputError(str(path), "no such event file")

    def read(self) -> list[Scalar]:
        """Numbers that were added since the last call; a record that is cut short waits.

        Raises:
            InputError: a record in the middle of the file is damaged.
        """
        found: list[Scalar] = []
        for record in self._records():
            found.extend(_scalars(record))
        return found

    def _records(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while True:
                file.seek(self.offset)
                head = file.read(12)
                if len(head) < 12:
                    return
                length, check = struct.unpack("<QI", head)
                if masked_crc(head[:8]) != check:
                    raise self._damaged()
                content, tail = file.read(length), file.read(4)
                if len(content) < length or len(tail) < 4:
                    return
                if masked_crc(content) != struct.unpack("<I", tail)[0]:
                    raise self._damaged()
                self.offset += 16 + length
                yield content

    def _damaged(self) -> InputError:
        return InputError(str(self.path), f"the record at byte {self.offset} is damaged")


def read_events(path: str | Path) -> list[Scalar]:
    """All numbers of an event file, or of every event file in a folder, by step and tag.

    A tail that was cut short, as a killed run leaves it, is left out.

    Raises:
        MissingInputError: there is no such file.
        InputError: a record in the middle of a file is damaged.
    """
    path = Path(path)
    files = sorted(path.rglob("*tfevents*")) if path.is_dir() else [path]
    if not files:
        raise MissingInputError(str(path), "the folder holds no event file")
    found = [scalar for file in files for scalar in EventReader(file).read()]
    return sorted(found, key=lambda scalar: (scalar.step, scalar.tag))


def masked_crc(content: bytes) -> int:
    """CRC-32C (Castagnoli), rotated and shifted as TFRecord files have it."""
    crc, table = 0xFFFFFFFF, _crc_table()
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _scalars(event: bytes) -> Iterator[Scalar]:
    """Numbers of an event: 1 time, 2 step, 5 summary; there 1 value: 1 tag, 2 number."""
    step, wall_time, summaries = 0, 0.0, []
    for field, value in _fields(event):
        if field == 1:
            wall_time = struct.unpack("<d", value)[0]
        elif field == 2:
            step = int(value)
        elif field == 5:
            summaries.append(value)
    for summary in summaries:
        for field, entry in _fields(summary):
            if field == 1:
                inside = dict(_fields(entry))
                if 2 in inside:
                    number = struct.unpack("<f", inside[2])[0]
                    yield Scalar(inside[1].decode(), step, number, wall_time)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a protocol buffer's fields: int for varints, bytes otherwise."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        else:
            size = {1: 8, 5: 4}[kind]
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested numbers with their names joined by ``/``."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}/")
        else:
            found[f"{prefix}{name}"] = float(value)
    return found


class TensorBoard(Callback):
    """Writes metrics, validations and previews for TensorBoard.

    Args:
        folder: where event files go.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                "writing for TensorBoard needs the package tensorboard, which is not installed; "
                "run: pip install featflow[tensorboard]"
            ) from error
        # No thread has written yet: the writer makes its file at the first number.
        self.writer: Any = SummaryWriter(str(folder))

    def add(self, values: Mapping[str, Any], step: int) -> None:
        """Write numbers; names of nested mappings are joined by ``/``."""
        for tag, value in flat(values).items():
            self.writer.add_scalar(tag, value, step)

    def add_image(self, tag: str, picture: NDArray[np.uint8], step: int) -> None:
        """Write a picture, (H, W, 3) uint8 RGB."""
        self.writer.add_image(tag, picture, step, dataformats="HWC")

    def on_record(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        """Write a row of metrics."""
        self.add({name: v for name, v in row.items() if name != "step"}, trainer.step)

    def on_validate(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        """Write figures of a validation."""
        self.add({"val": figures}, trainer.step)

    def on_save(self, trainer: Trainer, path: Path) -> None:
        """Put what was written on the disk."""
        self.writer.flush()

    def on_end(self, trainer: Trainer) -> None:
        """Put what was written on the disk; a run that goes on may still write."""
        self.writer.flush()
