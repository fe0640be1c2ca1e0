"""Every error that featflow raises on purpose.

Each one names what was wrong, where, and what to do about it. All derive from
:class:`FeatflowError`, so ``except FeatflowError`` catches what featflow knows of and
lets programming errors through. Those that a caller would also expect under a built-in
name derive from that name too (a missing file is a ``FileNotFoundError``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featflow.fex.table import Fex


class FeatflowError(Exception):
    """Base of every error that featflow raises on purpose.

    Attributes:
        rows: table rows that a detection had finished before the error, or None.
    """

    rows: Fex | None = None


class InputError(FeatflowError):
    """One input (a photo, a clip, an array) cannot be used.

    Args:
        source: path of the file, or the name that featflow gave to an input in memory.
        reason: what is wrong with it, in a few words.
        hint: what the user can do about it.
    """

    def __init__(self, source: str, reason: str, hint: str = "") -> None:
        self.source = source
        self.reason = reason
        self.hint = hint
        super().__init__(source, reason, hint)

    def __str__(self) -> str:
        text = f"{self.source}: {self.reason}"
        return f"{text} ({self.hint})" if self.hint else text


class MissingInputError(InputError, FileNotFoundError):
    """An input names a file, folder or pattern that does not exist."""

    __str__ = InputError.__str__


class ImageError(InputError):
    """A photo cannot be decoded: empty, cut short, not an image, or too large."""


class VideoError(InputError):
    """A clip cannot be decoded (from some frame on)."""


class ArrayError(InputError, ValueError):
    """An array or tensor given as input has an unusable shape, dtype or value."""

    __str__ = InputError.__str__


class OptionError(FeatflowError, ValueError):
    """An argument is unknown, out of range, or contradicts another one."""


class UnknownNodeError(OptionError):
    """A node name is not registered; the message lists the names that are."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(kind, name, self.known)

    def __str__(self) -> str:
        listed = ", ".join(self.known) or "none"
        return f"no {self.kind} node is called {self.name!r}; known {self.kind} nodes: {listed}"


class UnmetNeedsError(OptionError):
    """A set of nodes cannot run: one requires a field that none of the others provides."""


class NodeError(FeatflowError):
    """A node broke its contract or raised while it ran; ``__cause__`` has the original."""


class CompileError(FeatflowError):
    """A network cannot be compiled, or computes something else when it is."""


class StalledError(FeatflowError):
    """A stage of a flow made no progress for the set time."""


class SessionError(FeatflowError, RuntimeError):
    """A session of a flow was used after it ended, or in a way that it cannot follow."""


class WeightsError(FeatflowError):
    """A weight file is missing, damaged, or belongs to another network."""


class CardError(FeatflowError):
    """A node's ``card.toml`` is missing or malformed."""


class SchemaError(FeatflowError, ValueError):
    """A table does not have the columns or the metadata that the operation needs."""


class AbsentGroupError(SchemaError, AttributeError):
    """A table lacks a group of columns, because the node that makes them did not run."""


class OutputError(FeatflowError, OSError):
    """A result cannot be written: no such folder, no permission, disk full."""


class ResumeError(FeatflowError):
    """An interrupted run cannot be continued with the options given."""


class RecipeError(FeatflowError, ValueError):
    """A training recipe has an unknown key or a value that cannot be used."""


class TrainingError(FeatflowError):
    """Training cannot go on (no data, non-finite loss that did not recover)."""


class MissingExtraError(FeatflowError, ImportError):
    """An optional dependency is needed; the message names the extra to install."""


class MissingHubError(WeightsError, MissingExtraError):
    """Weights are not here and cannot be fetched, because ``featflow[hub]`` is not installed."""


class LicenceError(OptionError):
    """Nodes are asked for whose licence does not allow what the caller wants to do."""
