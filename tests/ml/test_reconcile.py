"""Coherence: sums are exact, the reconciled forecast is the nearest coherent one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.kernel.errors import Invalid
from bursar.kernel.series import Floats, Ints
from bursar.ml.reconcile import Tree, bottom_up, least_change, to_minor_units

PARENT = np.array([-1, 0, 0, 1, 1, 1, 2, 2])


def sums(parent: Ints, values: Floats | Ints) -> list[tuple[int, int]]:
    return [
        (int(values[node, step]), int(values[parent == node, step].sum()))
        for node in set(parent[parent >= 0].tolist())
        for step in range(values.shape[1])
    ]


@st.composite
def forests(draw: st.DrawFn) -> Ints:
    count = draw(st.integers(1, 25))
    return np.array([draw(st.integers(-1, node - 1)) for node in range(count)])


@given(forests(), st.integers(0, 2**31))
def test_children_sum_to_their_parents_to_the_cent(parent: Ints, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree = Tree.of(parent)
    values = rng.normal(0, 10.0 ** rng.integers(0, 12), (len(parent), 3))

    coherent = to_minor_units(tree, least_change(tree, values, rng.uniform(0, 5, len(parent))))

    assert all(whole == parts for whole, parts in sums(parent, coherent))


def test_the_result_is_the_least_squares_one() -> None:
    rng = np.random.default_rng(0)
    tree, leaves = Tree.of(PARENT), [3, 4, 5, 6, 7]
    summing = np.zeros((8, 5))
    for at, leaf in enumerate(leaves):
        node = leaf
        while node >= 0:
            summing[node, at] = 1
            node = int(PARENT[node])
    values, variance = rng.normal(10, 3, (8, 4)), rng.uniform(0.5, 4, 8)

    weight = np.diag(1 / variance)
    expected = summing @ np.linalg.solve(summing.T @ weight @ summing, summing.T @ weight @ values)

    np.testing.assert_allclose(least_change(tree, values, variance), expected)


def test_coherent_values_stay_and_bottom_up_sums() -> None:
    rng = np.random.default_rng(1)
    tree = Tree.of(PARENT)
    coherent = bottom_up(tree, rng.normal(5, 1, (8, 3)))

    np.testing.assert_allclose(least_change(tree, coherent, np.ones(8)), coherent)
    assert tree.is_leaf.tolist() == [False, False, False, True, True, True, True, True]


def test_an_order_of_nodes_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    values, variance = rng.normal(5, 1, (8, 2)), rng.uniform(1, 2, 8)
    shuffle = rng.permutation(8)
    back = np.argsort(shuffle)
    moved = np.array([back[PARENT[node]] if PARENT[node] >= 0 else -1 for node in shuffle])

    left = least_change(Tree.of(PARENT), values, variance)[shuffle]
    right = least_change(Tree.of(moved), values[shuffle], variance[shuffle])

    np.testing.assert_allclose(left, right)


@pytest.mark.parametrize("parent", [[1, 0], [0], [5, -1], [-2, -1], [-1, 2, 1]])
def test_what_is_no_tree_is_refused(parent: list[int]) -> None:
    with pytest.raises(Invalid):
        Tree.of(np.array(parent))
