"""Gradient-boosted trees as plain arrays, evaluated for all rows and all trees at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import ArrayError, WeightsError

_OBJECTIVES = ("binary:logistic", "binary:hinge")


@dataclass(frozen=True, slots=True)
class TreeEnsemble:
    """Binary decision trees whose leaves add up to a margin.

    The nodes of all trees stand in one row of arrays. A row of features goes left where
    ``x[feature] < threshold`` in single precision, and where its feature is NaN and
    ``default_left`` is set. A leaf is its own child.

    Attributes:
        roots: (T,) index of each tree's root.
        left, right: (M,) children.
        feature: (M,) which feature a node looks at; 0 at a leaf.
        threshold: (M,) float32.
        default_left: (M,) where a missing value goes.
        value: (M,) float32, added to the margin by a leaf; 0 at other nodes.
        base: () margin of no trees at all.
        hinge: () True where the margin's sign alone is the answer (trained with a hinge loss).
        depth: () steps from a root to its deepest leaf, at most.
    """

    roots: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    default_left: NDArray[np.bool_]
    value: NDArray[np.float32]
    base: NDArray[np.float64]
    hinge: NDArray[np.bool_]
    depth: NDArray[np.int32]

    def reads(self, features: int) -> bool:
        """Whether rows of so many features have all that the trees look at."""
        return int(self.feature.max(initial=0)) < features

    def margin(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Sum of the leaves that each row reaches.

        Args:
            features: (N, F); NaN is a missing value.

        Returns:
            (N,).

        Raises:
            ArrayError: there are fewer features than the trees look at.
        """
        x = np.asarray(features, np.float32)
        if x.ndim != 2 or not self.reads(x.shape[1]):
            needed = int(self.feature.max(initial=0)) + 1
            raise ArrayError("features for trees", f"have shape {x.shape}, need (N, >= {needed})")
        rows = np.arange(len(x))[:, None]
        node = np.broadcast_to(self.roots, (len(x), len(self.roots)))
        for _ in range(int(self.depth)):
            seen = x[rows, self.feature[node]]
            goes_left = (seen < self.threshold[node]) | (np.isnan(seen) & self.default_left[node])
            node = np.where(goes_left, self.left[node], self.right[node])
        return np.asarray(self.value[node].sum(1, dtype=np.float64) + self.base, np.float64)

    def probability(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Probability of the positive class, (N,); 0 or 1 where the trees learned a hinge."""
        margin = self.margin(features)
        if self.hinge:
            return (margin > 0).astype(np.float64)
        return np.asarray(1.0 / (1.0 + np.exp(-margin)), np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The ensemble as named arrays, to be written to a weight file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> TreeEnsemble:
        """The inverse of :meth:`arrays`, with every index checked.

        Raises:
            WeightsError: an array is missing, misshapen, or points outside the trees.
        """
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in arrays]
        if missing:
            raise WeightsError(f"a tree ensemble lacks the arrays {', '.join(missing)}")
        made = cls(**{name: np.asarray(arrays[name]) for name in names})
        made._check()
        return made

    def _check(self) -> None:
        nodes = len(self.value)
        per_node = (self.left, self.right, self.feature, self.threshold, self.default_left)
        if any(array.shape != (nodes,) for array in per_node):
            raise WeightsError("the arrays of a tree ensemble differ in length")
        indices = (self.roots, self.left, self.right, self.feature, self.depth)
        if any(array.dtype.kind not in "iu" for array in indices):
            raise WeightsError("a tree ensemble counts nodes, features and depth in whole numbers")
        if self.depth.ndim or not 0 <= int(self.depth) <= nodes:
            raise WeightsError(f"trees of {nodes} nodes cannot be {self.depth} deep")
        for array in (self.roots, self.left, self.right):
            if array.size and not (array.min() >= 0 and array.max() < nodes):
                raise WeightsError(f"a tree points to a node outside 0..{nodes - 1}")
        if self.feature.min(initial=0) < 0:
            raise WeightsError("a tree looks at a feature below 0")

    @classmethod
    def from_xgboost(cls, model: Mapping[str, Any]) -> TreeEnsemble:
        """Read what ``json.load`` makes of a booster that XGBoost saved as JSON.

        Raises:
            WeightsError: the model is not a binary classifier of plain numeric trees.
        """
        try:
            learner = model["learner"]
            objective = str(learner["objective"]["name"])
            trees = [_nodes(tree) for tree in _used(learner)]
            base_score = _first_number(learner["learner_model_param"]["base_score"])
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"not an XGBoost model of trees: {error!r}") from error
        if objective not in _OBJECTIVES or not trees:
            raise WeightsError(
                f"cannot evaluate an XGBoost model of {len(trees)} trees with objective "
                f"{objective!r}; known objectives: {', '.join(_OBJECTIVES)}"
            )
        hinge = objective == "binary:hinge"
        base = base_score if hinge else np.log(base_score / (1.0 - base_score))
        return cls.from_arrays(
            {
                **_joined(trees),
                "base": np.asarray(base, np.float64),
                "hinge": np.asarray(hinge),
                "depth": np.asarray(max(_depth(t["left"], t["right"]) for t in trees), np.int32),
            }
        )


def _joined(trees: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Trees in one row of arrays, their child indices moved to where they now stand."""
    sizes = np.array([len(tree["value"]) for tree in trees])
    roots = np.cumsum(sizes) - sizes
    joined = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    for side in ("left", "right"):
        joined[side] = (joined[side] + np.repeat(roots, sizes)).astype(np.int32)
    return {**joined, "roots": roots.astype(np.int32)}


def _used(learner: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Trees that predict: those up to the best round, where training stopped early."""
    model = learner["gradient_booster"]["model"]
    trees: Sequence[Mapping[str, Any]] = model["trees"]
    best = learner.get("attributes", {}).get("best_iteration")
    if best is None:
        return trees
    a_round = int(model.get("gbtree_model_param", {}).get("num_parallel_tree", 1)) or 1
    return trees[: (int(best) + 1) * a_round]


def _first_number(text: object) -> float:
    """XGBoost writes ``5E-1``, and ``[5E-1]`` since version 3."""
    return float(str(text).strip("[]").split(",")[0])


def _nodes(tree: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Arrays of one tree, its leaves pointing to themselves."""
    if any(tree.get("split_type", [])) or len(tree.get("categories_nodes", [])):
        raise WeightsError("cannot evaluate XGBoost trees with categorical splits")
    left = np.asarray(tree["left_children"], np.int32)
    right = np.asarray(tree["right_children"], np.int32)
    condition = np.asarray(tree["split_conditions"], np.float32)
    leaf, itself = left < 0, np.arange(len(left), dtype=np.int32)
    return {
        "left": np.where(leaf, itself, left),
        "right": np.where(leaf, itself, right),
        "feature": np.where(leaf, 0, np.asarray(tree["split_indices"], np.int32)),
        "threshold": np.where(leaf, np.float32(0), condition),
        "default_left": np.asarray(tree["default_left"], bool) & ~leaf,
        "value": np.where(leaf, condition, np.float32(0)),
    }


def _depth(left: NDArray[np.int32], right: NDArray[np.int32]) -> int:
    """Steps from a tree's root, node 0, to its deepest leaf."""
    level = np.zeros(1, np.int32)
    for depth in range(len(left)):
        inner = level[left[level] != level]
        if not len(inner):
            return depth
        level = np.unique(np.concatenate([left[inner], right[inner]]))
        if level.min() < 0 or level.max() >= len(left):
            break
    raise WeightsError("the nodes of an XGBoost tree do not form a tree")
