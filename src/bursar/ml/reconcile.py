"""Forecasts of a tree that add up: children sum to their parent at every level, exactly.

Source: Wickramasuriya, Athanasopoulos and Hyndman (2019), trace minimisation with a diagonal error covariance. On a tree
it needs no matrix: one pass up pools what each subtree knows, one pass down shares out what is left.
"""

from dataclasses import dataclass

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.series import Floats, Ints
from bursar.ml.anomaly.cause import spread_exactly


@dataclass(frozen=True, slots=True)
class Tree:
    """Parents of n nodes.

    Attributes:
        parent: Shape (n,): row of the parent, -1 for a root.
        order: Shape (n,): every parent before its children.
    """

    parent: Ints
    order: Ints

    @classmethod
    def of(cls, parent: Ints) -> "Tree":
        """Check the parents and order the nodes from the roots down.

        Raises:
            Invalid: A parent does not exist, or a node is its own ancestor.
        """
        count = len(parent)
        if count and (parent.min() < -1 or parent.max() >= count):
            raise Invalid("a series has a parent that is not there")
        depth = np.where(parent < 0, 0, -1)
        for level in range(count):
            waiting = np.flatnonzero(depth < 0)
            if not len(waiting):
                break
            ready = waiting[depth[parent[waiting]] == level]
            if not len(ready):
                raise Invalid("a series is its own ancestor", "Give every series one parent, and the total none.")
            depth[ready] = level + 1
        return cls(parent, np.argsort(depth, kind="stable").astype(np.int64))

    @property
    def is_leaf(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Shape (n,): True where no other node has this parent."""
        leaf = np.ones(len(self.parent), dtype=bool)
        leaf[self.parent[self.parent >= 0]] = False
        return leaf


def bottom_up(tree: Tree, values: Floats) -> Floats:
    """Return values (n, h) with every parent replaced by the sum of its children."""
    out = np.where(tree.is_leaf[:, None], values, 0.0)
    for node in tree.order[::-1]:
        if tree.parent[node] >= 0:
            out[tree.parent[node]] += out[node]
    return out


def least_change(tree: Tree, values: Floats, variance: Floats) -> Floats:
    """Return the coherent values nearest to ``values``, weighted by one over the error variance of each node.

    Args:
        tree: Of the n nodes.
        values: Shape (n, h): forecast apart from each other.
        variance: Shape (n,): error variance of each; 0 is taken as very small, so such a node hardly moves.

    Returns:
        Shape (n, h). Sums are as exact as floating point; :func:`to_minor_units` makes them exact to the cent.
    """
    known = np.maximum(variance, 1e-12 * max(float(variance.max(initial=0.0)), 1e-300))[:, None]
    best, spread = values.astype(np.float64).copy(), np.repeat(known, 1, axis=1)
    sums, spreads = np.zeros_like(best), np.zeros_like(spread)
    leaf = tree.is_leaf
    for node in tree.order[::-1]:
        if not leaf[node]:
            total = known[node] + spreads[node]
            best[node] = (values[node] * spreads[node] + sums[node] * known[node]) / total
            spread[node] = known[node] * spreads[node] / total
        parent = tree.parent[node]
        if parent >= 0:
            sums[parent] += best[node]
            spreads[parent] += spread[node]
    out = best.copy()
    for node in tree.order:
        parent = tree.parent[node]
        if parent >= 0:
            out[node] = best[node] + spread[node] / spreads[parent] * (out[parent] - sums[parent])
    return out


def to_minor_units(tree: Tree, values: Floats) -> Ints:
    """Return coherent values (n, h) as whole minor units whose children sum to their parents exactly.

    Args:
        tree: Of the n nodes.
        values: Shape (n, h): coherent, in minor units, not yet whole; at most 2**53.

    Returns:
        Shape (n, h), ``int64``: roots are rounded, rounding differences go to the largest children.
    """
    out = np.rint(values).astype(np.int64)
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(tree.parent):
        children.setdefault(int(parent), []).append(node)
    for node in tree.order:
        below = children.get(int(node), [])
        if not below:
            continue
        for step in range(values.shape[1]):
            gap = int(out[node, step]) - int(out[below, step].sum())
            if gap:
                out[below, step] += np.array(spread_exactly(gap, np.abs(out[below, step])))
    return out
