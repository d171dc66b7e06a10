"""Which subsets one network is evaluated under."""

from __future__ import annotations

from collections.abc import Mapping

from vprdist.game.draws import Whole, draw_orders, subsets_of_draw


def orders_to_probe(num_players: int, most: int, seed: int) -> Whole | None:
    """(R, n) orders whose subsets are probed; None: all subsets are, since they are at most `most`.

    As many draws of an order and its reverse as `most` probes are enough for, whatever subsets they share.
    """
    if 2**num_players - 1 <= most:
        return None
    return draw_orders(num_players, most // (2 * num_players - 1), seed)


def subsets_to_probe(num_players: int, most: int, seed: int) -> list[int]:
    """The subsets with a player, each once: all of them, or those of `orders_to_probe`; everybody among them."""
    if (orders := orders_to_probe(num_players, most, seed)) is None:
        return list(range(1, 2**num_players))
    return list(dict.fromkeys(subset for order in orders for subset in subsets_of_draw(order)))


def best_subsets(values: Mapping[int, float], count: int) -> list[int]:
    """The `count` subsets of highest value; of equals the one with fewer players, then the lower number."""
    return sorted(values, key=lambda subset: (-values[subset], subset.bit_count(), subset))[:count]
