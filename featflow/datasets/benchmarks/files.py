"""Reading the text and Matlab files of benchmarks, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import InputError, MissingInputError

MATLAB_PIXEL = -0.5
"""Added to pixels of Matlab, where the centre of the first is at (1, 1); ours is at (0.5, 0.5)."""


def lines_of(path: Path) -> list[str]:
    """Lines of a text file that hold something, stripped.

    Raises:
        MissingInputError: there is no such file.
        InputError: it is no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingInputError(str(path), "no such file of the data set") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), f"cannot be read as text: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def numbers_of(path: Path, words: Iterable[str], count: int | None = None) -> list[float]:
    """Numbers from words of a file.

    Raises:
        InputError: a word is no finite number, or there are not ``count``.
    """
    found = list(words)
    try:
        values = [float(word) for word in found]
    except ValueError as error:
        raise InputError(str(path), f"expected numbers, got {' '.join(found)!r}") from error
    if not np.isfinite(values).all():
        raise InputError(str(path), f"expected finite numbers, got {' '.join(found)!r}")
    if count is not None and len(values) != count:
        raise InputError(str(path), f"expected {count} numbers in a row, got {len(values)}")
    return values


def table_of(path: Path, columns: int, separator: str | None = None) -> NDArray[np.float64]:
    """A text file of rows of ``columns`` numbers, (N, columns)."""
    rows = [numbers_of(path, line.split(separator), columns) for line in lines_of(path)]
    return np.array(rows, np.float64).reshape(-1, columns)


def matlab_of(path: Path, *names: str) -> list[Any]:
    """Variables of a ``.mat`` file (version 7 or older).

    Raises:
        InputError: it is no such file, or lacks a variable.
    """
    from scipy.io import loadmat

    try:
        variables = loadmat(path, variable_names=list(names))
    except FileNotFoundError as error:
        raise MissingInputError(str(path), "no such file of the data set") from error
    except Exception as error:  # scipy raises what its parser stumbles over
        raise InputError(str(path), f"cannot be read as a Matlab file: {error}") from error
    missing = [name for name in names if name not in variables]
    if missing:
        raise InputError(str(path), f"lacks the variables {', '.join(missing)}")
    return [variables[name] for name in names]


def matlab_text(value: Any) -> str:
    """A string of a Matlab cell, however deep it lies."""
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    return str(value).strip()


def present(paths: Iterable[Path]) -> list[Path]:
    """The same paths, all of which exist.

    Raises:
        MissingInputError: some do not; names the first and says how many.
    """
    found = list(paths)
    missing = [path for path in dict.fromkeys(found) if not path.is_file()]
    if missing:
        reason = f"is missing, and {len(missing) - 1} more of {len(set(found))} pictures"
        raise MissingInputError(str(missing[0]), reason, "the set must lie there as a whole")
    return found


def first_folder(root: Path, *names: str) -> Path:
    """The first of some folders of ``root`` that exists; ``root`` itself if none does."""
    return next((root / name for name in names if (root / name).is_dir()), root)
