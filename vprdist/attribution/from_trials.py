"""Arms that were trained one by one: what their trials' values say of each player."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vprdist.attribution.chances import mean_chance
from vprdist.attribution.finished import Finished, ResultOf
from vprdist.attribution.rows import best_first, on_gpu, player_rows
from vprdist.game.claims import PlayerEffects
from vprdist.game.draws import Floats
from vprdist.game.inference import row_effects
from vprdist.game.state import Game
from vprdist.spec.attribution import ArmValue, Cost, PairRow, PlayerRow, SettingRow
from vprdist.spec.result import ResultRow
from vprdist.spec.subsets import Point, SubsetSpec
from vprdist.spec.sweep import SweepSpec

Say = Callable[[SweepSpec, SubsetSpec, Sequence[Game]], "Told"]
"""A method's own part: what the games of one setting say."""


def trained_setting(finished: Finished, say: Say) -> SettingRow:
    """What one setting's trials say."""
    sweep, rows = finished.sweep, _Remembered(finished.result_of)
    nobody = None if finished.family[0].nobody is None else mean_chance(finished.trial, sweep.objective)
    family = [replace(game, value_of=rows.valued(game), nobody=nobody) for game in finished.family]
    told = say(sweep, family[0].subsets, family)
    found = list(rows.seen.values())
    return SettingRow(
        setting=finished.setting, method=told.method, confidence=family[0].subsets.confidence, nobody=nobody,
        num_queries=found[0].num_queries if found else None, num_seeds=told.num_seeds,
        players=told.players, taken=told.taken, pairs=told.pairs, arms=told.arms, notes=tuple(told.notes),
        cost=cost_of(found),
    )  # fmt: skip


def cost_of(rows: Sequence[ResultRow]) -> Cost:
    """What trained arms took."""
    return Cost(
        num_trials=len(rows),
        train_s=sum(row.wall_s * row.num_ranks for row in rows),
        on_gpu=any(on_gpu(row.device) for row in rows),
    )


@dataclass(frozen=True)
class Told:
    """What a method says; fields as `SettingRow` has them."""

    method: str
    num_seeds: int
    notes: Sequence[str]
    players: tuple[PlayerRow, ...]
    pairs: tuple[PairRow, ...] = ()
    taken: tuple[str, ...] = ()
    arms: tuple[ArmValue, ...] = ()


class _Remembered:
    """Results by trial, each counted once."""

    def __init__(self, result_of: ResultOf) -> None:
        self.result_of = result_of
        self.seen: dict[str, ResultRow] = {}

    def valued(self, game: Game) -> Callable[[Point], float | None]:
        def value_of(point: Point) -> float | None:
            row = self.result_of(point)
            if row is not None:
                self.seen[row.trial_id] = row
            return game.value_of(point)

        return value_of


def trained_players(subsets: SubsetSpec, rows: Sequence[Floats]) -> tuple[PlayerRow, ...]:
    """Players from rows (R, n) of their own masks, and of each placebo in the same draws or seeds."""
    if not len(rows[0]):
        return ()
    placebos = dict(zip(subsets.placebos, rows[1:], strict=True))
    found = PlayerEffects(
        adds=row_effects(rows[0], confidence=subsets.confidence),
        placebos={name: row_effects(each, confidence=subsets.confidence) for name, each in placebos.items()},
        beyond={name: row_effects(rows[0] - each, confidence=subsets.confidence) for name, each in placebos.items()},
    )
    return best_first(player_rows(subsets, found, {}))
