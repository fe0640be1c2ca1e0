"""Where packed frames are kept: in memory, or in an SQLite file that outlives the process."""

from __future__ import annotations

import itertools
import sqlite3
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from featflow.errors import InputError, OptionError, OutputError

_APPLICATION_ID = 0x66664143  # "ffAC": tells our files from other people's databases
_SCHEMA_VERSION = 1
_TOUCHES_KEPT = 256


class Store(Protocol):
    """Bytes by key, least recently used out first, never more than a limit.

    Attributes:
        limit_bytes: most that keys and values may occupy together.
    """

    limit_bytes: int

    @property
    def nbytes(self) -> int:
        """Bytes that keys and values occupy."""

    @property
    def evictions(self) -> int:
        """Entries that were dropped to make room."""

    def __len__(self) -> int: ...

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""

    def put(self, key: bytes, value: bytes) -> bool:
        """Keep a value; False if it is larger than the whole limit."""

    def drop(self, key: bytes) -> None:
        """Forget a value."""

    def close(self) -> None:
        """Write out what is pending."""


def _check_limit(limit_bytes: int) -> int:
    if limit_bytes < 0:
        raise OptionError(f"a cache limit must not be negative, got {limit_bytes}")
    return int(limit_bytes)


class RamStore:
    """Keeps packed frames in memory.

    Args:
        limit_bytes: most bytes, counted with the value that is being put.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = _check_limit(limit_bytes)
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self._nbytes = 0
        self._evictions = 0

    @property
    def nbytes(self) -> int:
        """Bytes that keys and values occupy."""
        return self._nbytes

    @property
    def evictions(self) -> int:
        """Entries that were dropped to make room."""
        return self._evictions

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: bytes, value: bytes) -> bool:
        """Keep a value; False if it is larger than the whole limit."""
        self.drop(key)
        size = len(key) + len(value)
        if size > self.limit_bytes:
            return False
        while self._nbytes + size > self.limit_bytes:
            old_key, old = self._entries.popitem(last=False)
            self._nbytes -= len(old_key) + len(old)
            self._evictions += 1
        self._entries[key] = value
        self._nbytes += size
        return True

    def drop(self, key: bytes) -> None:
        """Forget a value."""
        old = self._entries.pop(key, None)
        if old is not None:
            self._nbytes -= len(key) + len(old)

    def close(self) -> None:
        """Nothing is pending in memory."""


class SqliteStore:
    """Keeps packed frames in a file, for this process and others, now and after a restart.

    Args:
        path: the file; made if it does not exist.
        limit_bytes: most bytes of keys and values; the file is somewhat larger.

    A damaged file is moved aside with a warning and a fresh one begun.

    Raises:
        InputError: the file is a database, but not one of these.
        OutputError: the folder is missing or not writable, or the disk is full.
    """

    def __init__(self, path: str | Path, limit_bytes: int) -> None:
        self.limit_bytes = _check_limit(limit_bytes)
        self._path = Path(path)
        self._evictions = 0
        self._touched: dict[bytes, None] = {}
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise self._explained(error) from error
            aside = self._move_aside()
            warnings.warn(
                f"{self._path} is damaged ({error}); moved to {aside.name}, a fresh cache begins",
                stacklevel=4,
            )
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=10.0, isolation_level=None)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        (owner,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and (owner != _APPLICATION_ID or version != _SCHEMA_VERSION):
            raise InputError(
                str(self._path),
                "is a database, but no frame cache of this version",
                "choose another cacher_db_path",
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        if tables:
            db.execute("SELECT key FROM frames LIMIT 1")
            return
        db.execute("BEGIN IMMEDIATE")
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        for statement in _TABLES:
            db.execute(statement)
        db.execute("COMMIT")

    def _move_aside(self) -> Path:
        for number in itertools.count(1):
            aside = self._path.with_name(f"{self._path.name}.damaged-{number}")
            if not aside.exists():
                break
        self._path.rename(aside)
        for suffix in ("-wal", "-shm"):
            rest = self._path.with_name(self._path.name + suffix)
            if rest.exists():
                rest.rename(aside.with_name(aside.name + suffix))
        return aside

    def _explained(self, error: sqlite3.Error) -> OutputError:
        hint = "free space or lower the limit" if "full" in str(error) else "check the folder"
        if "closed" in str(error):
            hint = "the core was closed: make another"
        return OutputError(f"{self._path}: the frame cache cannot be used: {error} ({hint})")

    @property
    def nbytes(self) -> int:
        """Bytes that keys and values occupy, those of other processes too."""
        return int(self._db.execute("SELECT nbytes FROM totals").fetchone()[0])

    @property
    def evictions(self) -> int:
        """Entries that this store dropped to make room."""
        return self._evictions

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM frames").fetchone()[0])

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        try:
            row = self._db.execute("SELECT value FROM frames WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            # Writing down each use at once would cost more than reading the frame.
            self._touched.pop(key, None)
            self._touched[key] = None
            if len(self._touched) >= _TOUCHES_KEPT:
                self._write([])
        except sqlite3.Error as error:
            raise self._explained(error) from error
        return bytes(row[0])

    def put(self, key: bytes, value: bytes) -> bool:
        """Keep a value; False if it is larger than the whole limit."""
        size = len(key) + len(value)
        try:
            if size > self.limit_bytes:
                self.drop(key)
                return False
            self._write([(key, value, size)])
        except sqlite3.Error as error:
            raise self._explained(error) from error
        return True

    def _write(self, entries: list[tuple[bytes, bytes, int]]) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")  # one writer at a time, so the total cannot race
        try:
            clock = int(db.execute("SELECT clock FROM totals").fetchone()[0])
            touched = [(clock + i + 1, key) for i, key in enumerate(self._touched)]
            db.executemany("UPDATE frames SET used = ? WHERE key = ?", touched)
            clock += len(touched) + 1
            for key, value, size in entries:
                db.execute("DELETE FROM frames WHERE key = ?", (key,))
                self._make_room(size)
                db.execute("INSERT INTO frames VALUES (?, ?, ?, ?)", (key, value, size, clock))
            db.execute("UPDATE totals SET clock = ?", (clock,))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._touched.clear()

    def _make_room(self, size: int) -> None:
        while self.nbytes + size > self.limit_bytes:
            self._db.execute(
                "DELETE FROM frames WHERE key = (SELECT key FROM frames ORDER BY used LIMIT 1)"
            )
            self._evictions += 1

    def drop(self, key: bytes) -> None:
        """Forget a value."""
        self._db.execute("DELETE FROM frames WHERE key = ?", (key,))

    def close(self) -> None:
        """Write down what was used last, and close the file."""
        try:
            if self._touched:
                self._write([])
        finally:
            self._db.close()


_TABLES = (
    "CREATE TABLE frames (key BLOB PRIMARY KEY, value BLOB, size INTEGER, used INTEGER)",
    "CREATE INDEX by_use ON frames (used)",
    "CREATE TABLE totals (nbytes INTEGER, clock INTEGER)",
    "INSERT INTO totals VALUES (0, 0)",
    "CREATE TRIGGER added AFTER INSERT ON frames BEGIN"
    " UPDATE totals SET nbytes = nbytes + new.size; END",
    "CREATE TRIGGER removed AFTER DELETE ON frames BEGIN"
    " UPDATE totals SET nbytes = nbytes - old.size; END",
)
