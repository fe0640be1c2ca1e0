"""``ExtractOptions``: everything about extraction that a detector can be asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from featflow.errors import OptionError
from featflow.extract.light import Method, Normalised
from featflow.extract.marks import Marks
from featflow.extract.realign import Realign
from featflow.extract.refeed import Refeed
from featflow.extract.rotate import Angles, RotationSearch
from featflow.extract.rules import (
    Rule,
    distance_rule,
    order_rule,
    roll_rule,
    scale_rule,
    size_rule,
)

if TYPE_CHECKING:
    from featflow.flow.node import Node


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """How faces are looked for, aligned and judged; what is not asked for is off.

    Attributes:
        rotate: angles in degrees at which to look again where no face is found, see
            :class:`featflow.extract.RotationSearch`.
        normalise: how the crops that the landmark node sees are evened out.
        refeed: crops beyond the first that the landmark node sees of each face.
        realign: run the landmark node a second time, on the upright crop; only this pass is
            re-fed.
        min_size, max_size: the box's longer side over the frame's shorter side.
        order: mark faces whose brows and eyes do not stand above the mouth.
        min_scale, max_scale: side of the aligned face's crop over the frame's shorter side.
        max_distance: mean distance of the aligned points from the mean face.
        max_roll: tilt in the picture either way, degrees.
        rules: more rules: those of :func:`featflow.extract.people_rules`, or of your own.

    Raises:
        OptionError: a value is out of range.
    """

    rotate: Angles | str | None = None
    normalise: Method = "none"
    refeed: int = 0
    realign: bool = False
    min_size: float | None = None
    max_size: float | None = None
    order: bool = False
    min_scale: float | None = None
    max_scale: float | None = None
    max_distance: float | None = None
    max_roll: float | None = None
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.refeed, bool) or not isinstance(self.refeed, int) or self.refeed < 0:
            raise OptionError(f"refeed must be a whole number of 0 or more, got {self.refeed!r}")
        self.all_rules()

    @classmethod
    def of(cls, options: ExtractOptions | Mapping[str, Any] | None) -> ExtractOptions:
        """The options, from a mapping of their names too.

        Raises:
            OptionError: an unknown name, or a value is out of range.
        """
        if isinstance(options, ExtractOptions):
            return options
        given = dict(options or {})
        names = [field.name for field in fields(cls)]
        unknown = sorted(given.keys() - set(names))
        if unknown:
            raise OptionError(
                f"extract has no option {', '.join(unknown)}; its options: {', '.join(names)}"
            )
        return cls(**given)

    def all_rules(self) -> tuple[Rule, ...]:
        """The rules by which faces are judged: size, landmarks, then :attr:`rules`."""
        rules: list[Rule] = []
        if self.min_size is not None or self.max_size is not None:
            rules.append(size_rule(*_limits(self.min_size, self.max_size)))
        if self.order:
            rules.append(order_rule())
        if self.min_scale is not None or self.max_scale is not None:
            rules.append(scale_rule(*_limits(self.min_scale, self.max_scale)))
        if self.max_distance is not None:
            rules.append(distance_rule(self.max_distance))
        if self.max_roll is not None:
            rules.append(roll_rule(math.radians(self.max_roll)))
        return (*rules, *self.rules)

    def wrap(self, nodes: Mapping[str, Node]) -> dict[str, Node]:
        """Nodes of a detector, slot by slot, with what the options put around them.

        The rules become a node of their own, in the slot ``filter``.

        Raises:
            OptionError: an option is about a slot that is empty, or a node cannot be wrapped.
        """
        wrapped = dict(nodes)
        if self.rotate is not None:
            wrapped["face"] = RotationSearch(self._needed(nodes, "face", "rotate"), self.rotate)
        if self.normalise != "none" or self.refeed or self.realign:
            asked = [name for name in ("normalise", "refeed", "realign") if self._is_set(name)]
            wrapped["landmark"] = self._aligned(self._needed(nodes, "landmark", *asked))
        rules = self.all_rules()
        if rules:
            wrapped["filter"] = Marks(rules)
        return wrapped

    def recorded(self) -> dict[str, Any]:
        """What was asked for, as JSON for the table's metadata."""
        asked = {f.name: getattr(self, f.name) for f in fields(self) if self._is_set(f.name)}
        return {name: _plain(value) for name, value in asked.items()}

    def _is_set(self, name: str) -> bool:
        default = {field.name: field.default for field in fields(self)}[name]
        return bool(getattr(self, name) != default)

    def _aligned(self, node: Node) -> Node:
        seen = node if self.normalise == "none" else Normalised(node, self.normalise)
        last = Refeed(seen, self.refeed) if self.refeed else seen
        return Realign(seen, last) if self.realign else last

    @staticmethod
    def _needed(nodes: Mapping[str, Node], slot: str, *options: str) -> Node:
        if slot not in nodes:
            raise OptionError(f"extract option {', '.join(options)} needs a {slot} node")
        return nodes[slot]


def _limits(smallest: float | None, largest: float | None) -> tuple[float, float]:
    return (0.0 if smallest is None else smallest, math.inf if largest is None else largest)


def _plain(value: Any) -> Any:
    """A value as JSON; a rule by its field and limits."""
    if isinstance(value, Rule):
        limits = {"low": value.low, "high": value.high}
        return {"field": value.field, **{k: v for k, v in limits.items() if math.isfinite(v)}}
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return value
