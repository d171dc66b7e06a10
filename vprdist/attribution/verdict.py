"""What may be said of a player over settings that differ in one thing: in every form of the mask, in every network.

That all forms have to say it needs no correction for their number, however alike they are (an intersection-union test;
README.md, "In every form of the mask"). That any form says it, which makes `depends`, is not corrected either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vprdist.spec.attribution import Claim, Effect, PlayerRow, PlayerVerdict, SettingRow, Verdict

UP: tuple[Claim, ...] = ("helps", "raises")
DOWN: tuple[Claim, ...] = ("hurts", "lowers")


def verdicts(columns: Sequence[SettingRow]) -> tuple[PlayerVerdict, ...]:
    """A verdict for each player of any column; who adds most, on average over the columns that have it, first."""
    rows = [{player.player: player for player in column.players} for column in columns]
    names = list(dict.fromkeys(name for column in rows for name in column))
    found = {name: [column.get(name) for column in rows] for name in names}
    order = sorted(names, key=lambda name: -_mean(found[name]))
    return tuple(
        PlayerVerdict(
            player=name,
            verdict=verdict([row.claim if row else None for row in found[name]]),
            is_opposed=is_opposed([row.adds for row in found[name] if row]),
        )
        for name in order
    )


def verdict(claims: Sequence[Claim | None]) -> Verdict:
    """What the claims of all columns together allow.

    `helps` needs `helps` in every column, and so `hurts`. Where one of them had no control, a claim of the same
    direction everywhere is `raises` or `lowers`. Nothing is said of all where one does not say it.

    Args:
        claims: of one player, one a column; None where the column does not have it.
    """
    for word, direction in (("raises", UP), ("lowers", DOWN)):
        if all(claim in direction for claim in claims):
            own: Verdict = "helps" if word == "raises" else "hurts"
            plain: Verdict = "raises" if word == "raises" else "lowers"
            return own if all(claim == own for claim in claims) else plain
    if any(claim in (*UP, *DOWN) for claim in claims):
        return "depends"
    return "untold" if all(claim in ("untold", None) for claim in claims) else "none"


def is_opposed(effects: Sequence[Effect]) -> bool:
    """Whether one interval is above zero and another below."""
    above = any(effect.low is not None and effect.low > 0 for effect in effects)
    return above and any(effect.high is not None and effect.high < 0 for effect in effects)


def values_of(columns: Sequence[SettingRow], players: Sequence[str]) -> Mapping[int, list[float]]:
    """By place of the column what the players add; columns that do not have all of them are left out."""
    out = {}
    for place, column in enumerate(columns):
        own = {player.player: player.adds.value for player in column.players}
        if all(name in own for name in players):
            out[place] = [own[name] for name in players]
    return out


def _mean(rows: Sequence[PlayerRow | None]) -> float:
    return float(np.mean([row.adds.value for row in rows if row is not None]))
