"""Flags that several commands take: nodes of the slots, and options of extraction."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from featflow.detector import Detector

Flags = Mapping[str, tuple[Any, Any]]
"""Name to type and ``typer.Option``."""

DEFAULT_NODES = {
    "face": "tiny",
    "landmark": "tiny",
    "pose": "mlp",
    "au": "tiny",
    "emotion": "tiny",
    "identity": "tiny",
    "gaze": "tiny",
}
"""Nodes that run where nothing is said, those of :class:`featflow.Detector`; masks are off."""

SLOT_FLAGS: Flags = {
    slot: (
        str | None,
        typer.Option(
            None, help=f"{label} node, or none.", show_default=DEFAULT_NODES.get(slot, False)
        ),
    )
    for slot, label in {
        "face": "Face",
        "landmark": "Landmark",
        "pose": "Pose",
        "mask": "Mask",
        "au": "Action unit",
        "emotion": "Emotion",
        "identity": "Identity",
        "gaze": "Gaze",
    }.items()
}

EXTRACT_FLAGS: Flags = {
    "rotate": (str | None, typer.Option(None, help="Look again at these angles: 90, or 45,-45.")),
    "normalise": (str | None, typer.Option(None, help="Landmark crops: clahe, hist or mean.")),
    "refeed": (int | None, typer.Option(None, min=0, help="More crops a face, averaged.")),
    "realign": (bool, typer.Option(False, "--realign", help="Landmarks twice, upright.")),
    "min_size": (float | None, typer.Option(None, help="Mark smaller boxes, share of frame.")),
    "max_size": (float | None, typer.Option(None, help="Mark larger boxes, share of frame.")),
    "order": (bool, typer.Option(False, "--order", help="Mark mouths above eyes.")),
    "min_scale": (float | None, typer.Option(None, help="Mark smaller aligned faces.")),
    "max_scale": (float | None, typer.Option(None, help="Mark larger aligned faces.")),
    "max_distance": (float | None, typer.Option(None, help="Mark points unlike a face.")),
    "max_roll": (float | None, typer.Option(None, help="Mark faces tilted more, degrees.")),
}

PEOPLE_FLAGS: Flags = {
    "people": (Path | None, typer.Option(None, help="Enrolled people to name (see enroll).")),
    "identity_threshold": (float | None, typer.Option(None, help="Cosine that is one person.")),
    "identity_method": (str, typer.Option("gallery", help="How to tell people apart, or none.")),
    "track": (bool | None, typer.Option(None, help="Let tracks vote for names. [in clips]")),
    "wanted": (Path | None, typer.Option(None, help="Enrolled people to keep; mark others.")),
    "unwanted": (Path | None, typer.Option(None, help="Enrolled people to mark.")),
}


def takes(argument: str, flags: Flags) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A command that also takes ``flags``, gathered in its argument ``argument``, a mapping."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(command, eval_str=True)

        @wraps(command)
        def run(**given: Any) -> Any:
            gathered = {name: given.pop(name) for name in flags}
            return command(**given, **{argument: gathered})

        kept = [p for p in own.parameters.values() if p.name != argument]
        extra = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind)
            for name, (kind, option) in flags.items()
        ]
        run.__signature__ = own.replace(parameters=[*kept, *extra])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*kept, *extra]}
        return run

    return decorate


def chosen_nodes(slots: Mapping[str, str | None], from_table: bool = False) -> dict[str, Any]:
    """Node names for a detector; a table stands in for the nodes that nobody named."""
    defaults = {} if from_table else DEFAULT_NODES
    named = {slot: defaults.get(slot) if name is None else name for slot, name in slots.items()}
    return {
        slot: None if (name or "none").lower() == "none" else name for slot, name in named.items()
    }


def chosen_people(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a detector about people, from their flags."""
    method = flags["identity_method"]
    return {
        "identity_gallery": flags["people"],
        "identity_threshold": flags["identity_threshold"],
        "identity_method": None if method.lower() == "none" else method,
        "identity_track": flags["track"],
        "wanted": flags["wanted"],
        "unwanted": flags["unwanted"],
    }


def make_detector(
    slots: Mapping[str, str | None],
    extract: Mapping[str, Any],
    from_table: bool = False,
    **rest: Any,
) -> Detector:
    """The detector that the flags of a command ask for."""
    from featflow.detector import Detector

    nodes = chosen_nodes(slots, from_table)
    asked = {name: value for name, value in extract.items() if value not in (None, False)}
    return Detector(**nodes, extract=asked, **rest)
