"""What each player's joining adds, freed from the luck of who joined when.

The first classes add much, whoever they are, and the last add little: a network that sees something is far better than
one that sees black. In few draws some players are first more often than others, and a plain mean of what joining added
(Castro et al., Polynomial calculation of the Shapley value) rewards them for it. So the effects of the player and of
the place in the order are fitted together, by least squares. Over all orders the players' effects are Shapley's values.
In simulated games where the first class brings all, intervals become eight times narrower, and cover.
"""

from __future__ import annotations

import numpy as np

from vprdist.game.draws import Floats, Whole

SINGULAR = 1e-9
"""Eigenvalues below this share of the largest are zero: of the sum of all effects, and of what few draws leave open."""


def contributions(orders: Whole, forward: Floats, backward: Floats) -> Floats:
    """(…, R, n): one row a draw; the mean over draws estimates Shapley's values. A row sums to v(all) - v(nobody).

    Rows are the jackknife's pseudo-values of the fit (Efron and Tibshirani, An Introduction to the Bootstrap, ch. 11),
    so that Student's interval over rows is one for the fit. A constant added to the value of nobody changes all
    players alike.

    Args:
        orders: (R, n), or with the leading axes of the values; two draws or more.
        forward: (…, R, n+1) values of `forward_subsets`.
        backward: (…, R, n+1) values of `backward_subsets`.
    """
    num_draws, num_players = orders.shape[-2:]
    reverse = orders[..., ::-1]
    joined, left = np.diff(forward, axis=-1), -np.diff(backward, axis=-1)[..., ::-1]
    places = np.eye(num_players)[orders] + np.eye(num_players)[reverse]  # (…, R, place, player)
    by_player = _by_player(orders, joined) + _by_player(reverse, left)
    by_place = joined + left

    def fit(counts: Floats, of_players: Floats, of_places: Floats, draws: int) -> Floats:
        level = of_places.sum(axis=-1, keepdims=True) / (2 * draws * num_players)
        return np.asarray(_player_effects(counts, of_players, of_places, 2 * draws) + level, np.float64)

    sums = (places.sum(axis=-3), by_player.sum(axis=-2), by_place.sum(axis=-2))
    whole = fit(*sums, num_draws)[..., None, :]
    others = (sums[0][..., None, :, :] - places, sums[1][..., None, :] - by_player, sums[2][..., None, :] - by_place)
    return np.asarray(num_draws * whole - (num_draws - 1) * fit(*others, num_draws - 1), np.float64)


def _player_effects(counts: Floats, of_players: Floats, of_places: Floats, times: int) -> Floats:
    """(…, n) effects of players, of mean zero, in the least squares fit of player + place.

    Args:
        counts: (…, place, player) how often each player took each place.
        of_players, of_places: (…, n) sums of what joining added, of each player and at each place.
        times: how often each player joined, which is how often each place was taken.
    """
    across = np.swapaxes(counts, -1, -2)
    normal = times * np.eye(counts.shape[-1]) - across @ counts / times
    right = of_players[..., None] - across @ of_places[..., None] / times
    return np.asarray((np.linalg.pinv(normal, rcond=SINGULAR, hermitian=True) @ right)[..., 0], np.float64)


def _by_player(orders: Whole, by_step: Floats) -> Floats:
    """Values in the order of joining to values in the order of players."""
    return np.take_along_axis(by_step, np.broadcast_to(np.argsort(orders, axis=-1), by_step.shape), axis=-1)
