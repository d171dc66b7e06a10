"""Contributions of each query from draws of orders, where there are too many players for all subsets.

The fit of `contributions` and the index of `interactions` are linear in the values of subsets, for given orders. So
each is found once as weights of the subsets that the draws ask for: what it makes of a value of one for one subset,
and zero for all others. Queries then cost a matrix product, and all kinds of arms share the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from vprdist.game.contributions import contributions
from vprdist.game.draws import Floats, Whole, backward_subsets, forward_subsets
from vprdist.game.exact import Weights, pairs
from vprdist.game.interactions import interactions

CHUNK = 64
"""Subsets whose weights are found at once: bounds the memory at CHUNK x draws x players^2."""
Method = Callable[[Whole, Floats, Floats], Floats]


def drawn_weights(orders: Whole) -> Weights:
    """Shapley's values as the draws (R, n) estimate them; two draws or more. Matrix (n, K)."""
    return _weights(orders, contributions)


def drawn_interaction_weights(orders: Whole) -> Weights:
    """The interaction index of `pairs` as the draws (R, n) estimate it. Matrix (n(n-1)/2, K)."""
    return _weights(orders, _of_pairs)


def drawn_rows(orders: Whole, means_K: Floats) -> Floats:
    """(R, n) one row a draw: their mean is what `drawn_weights` makes of the same values, their spread luck of orders.

    Args:
        means_K: (K,) values of the subsets of `drawn_weights`, averaged over queries and seeds.
    """
    return contributions(orders, *_along(orders, drawn_subsets(orders), means_K))


def drawn_interaction_rows(orders: Whole, means_K: Floats) -> Floats:
    """(R, n(n-1)/2) as `drawn_rows`, for the pairs of `drawn_interaction_weights`."""
    return _of_pairs(orders, *_along(orders, drawn_subsets(orders), means_K))


def drawn_subsets(orders: Whole) -> Whole:
    """(K,) what the draws ask for, each subset once, ascending; the empty one among them."""
    return np.unique(np.concatenate([forward_subsets(orders), backward_subsets(orders)]))


def _weights(orders: Whole, method: Method) -> Weights:
    subsets = drawn_subsets(orders)
    parts = [method(orders, *_along(orders, subsets, unit)).mean(axis=-2).T for unit in _units(len(subsets))]
    return Weights(subsets, np.concatenate(parts, axis=1))


def _units(count: int) -> Iterator[Floats]:
    """(b, K) rows of the unit matrix, in chunks."""
    for start in range(0, count, CHUNK):
        yield np.eye(min(CHUNK, count - start), count, start)


def _along(orders: Whole, subsets: Whole, values: Floats) -> tuple[Floats, Floats]:
    """(…, R, n+1) values (…, K) of subsets, along both directions of each order."""
    forward, backward = (np.searchsorted(subsets, of(orders)) for of in (forward_subsets, backward_subsets))
    return values[..., forward], values[..., backward]


def _of_pairs(orders: Whole, forward: Floats, backward: Floats) -> Floats:
    """(…, R, n(n-1)/2) the upper half of `interactions`."""
    first, second = pairs(orders.shape[-1])
    return interactions(orders, forward, backward)[..., first, second]
