"""Do two classes help more together than apart? From the same draws, without a further trial."""

from __future__ import annotations

import numpy as np

from vprdist.game.draws import Floats, Whole


def interactions(orders: Whole, forward: Floats, backward: Floats) -> Floats:
    """(…, R, n, n): each draw's estimate of the Shapley interaction index of every two players; zero on the diagonal.

    The index of i and j is the mean of v(S+i+j) - v(S+i) - v(S+j) + v(S) over subsets S of the others, every size of S
    equally often (Grabisch and Roubens, An axiomatic approach to the concept of interaction). It is above zero where
    the two complement, below where one replaces the other.

    A walk shows what i adds with j there or without it, never both for one S. Where i joins as number k (from 0 on),
    the weights n/k (j there) and -n/(n-1-k) (j not there) make every size of S as frequent as the index asks. In the
    reverse walk the weight of i is the negative one, so that what i adds everywhere cancels within the draw.

    Args:
        orders, forward, backward: as for `contributions`.
    """
    num_players = orders.shape[-1]
    position = np.argsort(orders, axis=-1)
    by_step = (np.diff(forward, axis=-1) + np.diff(backward, axis=-1)) / 2  # half of joining less leaving
    change = np.take_along_axis(by_step, np.broadcast_to(position, by_step.shape), axis=-1)
    there = position[..., None, :] < position[..., :, None]  # [i, j]: j joins before i
    # Nobody is before the first or after the last: there the weight is never taken.
    with_j = num_players / np.maximum(position, 1)[..., None]
    without_j = -num_players / np.maximum(num_players - 1 - position, 1)[..., None]
    seen = change[..., None] * np.where(there, with_j, without_j) * (1 - np.eye(num_players))
    return np.asarray((seen + np.swapaxes(seen, -1, -2)) / 2, np.float64)
