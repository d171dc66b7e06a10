"""From numbers to the rows of an attribution report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vprdist.game.claims import PlayerEffects, pair_claims
from vprdist.game.exact import pairs
from vprdist.game.inference import Effects
from vprdist.spec.attribution import Effect, PairRow, PlayerRow
from vprdist.spec.subsets import SubsetSpec

ADDS, BEYOND = 1.0, 2.0
"""What a metric in [0, 1] can change at most: by a player; by a player and not by its placebo."""


def player_rows(subsets: SubsetSpec, found: PlayerEffects, more: Mapping[str, Mapping[str, Any]]) -> list[PlayerRow]:
    """One row a player, in the sweep file's order.

    Args:
        more: by player further fields of its row.
    """
    claims, bounds = found.claims, found.bounds.tolist()
    rows = []
    for i, (player, classes) in enumerate(subsets.players.items()):
        seed_sd = None if found.adds.seed_sd is None else float(found.adds.seed_sd[i])
        rows.append(
            PlayerRow(
                player=player, classes=classes, adds=effect_at(found.adds, i), claim=claims[i],
                placebos={name: effect_at(each, i) for name, each in found.placebos.items()},
                beyond={name: effect_at(each, i, BEYOND) for name, each in found.beyond.items()},
                bound=_within(bounds[i], BEYOND if found.beyond else ADDS), seed_sd=seed_sd,
                **dict(more.get(player, {})),
            )
        )  # fmt: skip
    return rows


def best_first(rows: Sequence[PlayerRow]) -> tuple[PlayerRow, ...]:
    """By what they add; of equals as they were."""
    return tuple(sorted(rows, key=lambda row: -row.adds.value))


def pair_rows(subsets: SubsetSpec, found: Effects) -> tuple[PairRow, ...]:
    """Every two players' interaction, the strongest first."""
    names, claims = list(subsets.players), pair_claims(found)
    first, second = pairs(len(names))
    rows = [
        PairRow(players=(names[i], names[j]), adds=effect_at(found, at), claim=claims[at])
        for at, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True))
    ]
    return tuple(sorted(rows, key=lambda row: -abs(row.adds.value)))


def effect_at(found: Effects, index: int, most: float = ADDS) -> Effect:
    """One player's effect; its interval ends where the metric does."""
    low, high = _within(found.low[index], most), _within(found.high[index], most)
    return Effect(value=float(found.values[index]), low=low, high=high)


def _within(value: float, most: float) -> float | None:
    known = finite(float(value))
    return None if known is None else max(-most, min(most, known))


def finite(value: float) -> float | None:
    """None for what is not told."""
    return value if math.isfinite(value) else None


def players_of(subsets: SubsetSpec, subset: int) -> tuple[str, ...]:
    """The names of a subset's players."""
    return tuple(name for i, name in enumerate(subsets.players) if subset >> i & 1)


def on_gpu(device: str) -> bool:
    """Whether a result or a part of probes says that it was made on a GPU."""
    return not device.startswith("cpu")
