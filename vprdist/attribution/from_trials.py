"""Arms that were trained one by one: what their trials' values say of each player."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vprdist.attribution.chances import mean_chance
from vprdist.attribution.rows import best_first, on_gpu, pair_rows, player_rows, players_of
from vprdist.game.claims import PlayerEffects
from vprdist.game.draws import Floats
from vprdist.game.exact import pairs
from vprdist.game.inference import row_effects
from vprdist.game.interactions import interactions
from vprdist.game.state import Drawn, Game, greedy_state, taken_contributions
from vprdist.search.subset_rule import drawn
from vprdist.spec.attribution import ArmValue, Cost, Effect, PairRow, PlayerRow, SettingRow
from vprdist.spec.result import ResultRow
from vprdist.spec.subsets import Point, SubsetSpec
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec

ResultOf = Callable[[Point], ResultRow | None]


def trained_setting(
    sweep: SweepSpec, setting: Point, family: Sequence[Game], trial: TrialSpec, result_of: ResultOf
) -> SettingRow:
    """What one setting's trials say.

    Args:
        family: the setting's game, and those of its placebos.
        trial: any of the setting.
    """
    rows = _Remembered(result_of)
    nobody = None if family[0].nobody is None else mean_chance(trial, sweep.objective)
    family = [replace(game, value_of=rows.valued(game), nobody=nobody) for game in family]
    of = {None: _taken, "greedy": _greedy, "shapley": _shapley}[sweep.search.searcher]
    told = of(sweep, family[0].subsets, family)
    found = list(rows.seen.values())
    return SettingRow(
        setting=setting, method=told.method, confidence=family[0].subsets.confidence, nobody=nobody,
        num_queries=found[0].protocol.num_queries if found else None, num_seeds=told.num_seeds,
        players=told.players, taken=told.taken, pairs=told.pairs, arms=told.arms, notes=tuple(told.notes),
        cost=Cost(
            num_trials=len(found),
            train_s=sum(row.wall_s * row.num_ranks for row in found),
            on_gpu=any(on_gpu(row.device) for row in found),
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class _Told:
    """What one way of searching says; fields as `SettingRow` has them."""

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


def _players(subsets: SubsetSpec, rows: Sequence[Floats]) -> tuple[PlayerRow, ...]:
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


def _taken(sweep: SweepSpec, subsets: SubsetSpec, family: Sequence[Game]) -> _Told:
    """Leave-one-out and add-one-in: one row a seed, of which every arm has a result."""
    by_seed = [[taken_contributions(game, (seed,)) for game in family] for seed in sweep.seeds]
    by_seed = [kinds for kinds in by_seed if all(map(len, kinds))]
    missing = len(sweep.seeds) - len(by_seed)
    notes = [f"{len(by_seed)} seed(s)" + (f"; {missing} left out, since a trial failed" if missing else "")]
    if len(by_seed) == 1:
        notes.append("one seed tells no interval: 'seeds=[0,1,2]' on the same command")
    empty = np.empty((0, subsets.num_players))
    rows = [np.concatenate([empty, *(kinds[kind] for kinds in by_seed)]) for kind in range(len(family))]
    return _Told(str(subsets.take), len(by_seed), notes, _players(subsets, rows))


def _shapley(sweep: SweepSpec, subsets: SubsetSpec, family: Sequence[Game]) -> _Told:
    states = drawn(sweep, family)
    state = states[0]
    notes = [
        f"{len(state.orders)} draws of an order and its reverse"
        + (f"; {state.failed} left out, since a trial failed" if state.failed else ""),
        f"the ranking is {'settled' if state.is_settled else 'NOT settled'} at {subsets.confidence:g}: neighbours "
        f"are {'told apart, or' if state.is_settled else 'neither all told apart, nor known to'} differ by less than "
        f"{subsets.tie:g}",
    ]
    shared = [row for row in state.rows if all(row in each.rows for each in states)]
    if len(shared) < len(state.rows):
        notes.append(f"{len(state.rows) - len(shared)} draws left out, since a trial of their placebos failed")
    rows = [_of_draws(each, shared) for each in states]
    pairs_found: tuple[PairRow, ...] = ()
    if len(state.orders) > 1:
        first, second = pairs(subsets.num_players)
        found = interactions(state.orders, state.forward, state.backward)[:, first, second]
        pairs_found = pair_rows(subsets, row_effects(found, confidence=subsets.confidence))
    return _Told("shapley", len(shared), notes, _players(subsets, rows), pairs_found)


def _of_draws(state: Drawn, rows: Sequence[int]) -> Floats:
    """(R, n) contributions of some of a search's draws."""
    chosen = [state.rows.index(row) for row in rows]
    part = replace(state, orders=state.orders[chosen], forward=state.forward[chosen], backward=state.backward[chosen])
    return part.contributions


def _greedy(sweep: SweepSpec, subsets: SubsetSpec, family: Sequence[Game]) -> _Told:
    """The players that were taken in, and by how much each raised the mean over seeds; no interval: it was picked."""
    game = family[0]
    step, _ = greedy_state(game, sweep.seeds)
    names = list(subsets.players)
    steps = list(itertools.pairwise([0, *np.cumsum([1 << player for player in step.taken]).tolist()]))
    games = [game, *(game.under(placebo) for placebo in subsets.placebos)]

    def raised(by: Game, before: int, after: int) -> float:
        # Nobody has no mask, and so no placebo.
        return _mean(by, after, sweep.seeds) - _mean(by if before else game, before, sweep.seeds)

    rows = []
    for player, (before, after) in zip(step.taken, steps, strict=True):
        values = [raised(each, before, after) for each in games]
        if not np.isfinite(values[0]):
            continue  # every trial of nobody failed
        controls = {name: value for name, value in zip(subsets.placebos, values[1:], strict=True) if np.isfinite(value)}
        rows.append(
            PlayerRow(
                player=names[player], classes=subsets.players[names[player]], claim="untold",
                adds=Effect(value=values[0]),
                placebos={name: Effect(value=value) for name, value in controls.items()},
                beyond={name: Effect(value=values[0] - value) for name, value in controls.items()},
            )
        )  # fmt: skip
    note = "greedy picks whoever looks best: what it took in has no interval; train the subset again to confirm it"
    arms = [
        ArmValue(
            players=players_of(subsets, after), placebo=kind, value=_mean(each, after, sweep.seeds),
            num_seeds=len(sweep.seeds),
        )
        for kind, each in zip((None, *subsets.placebos), games, strict=True)
        for _, after in steps
        if np.isfinite(_mean(each, after, sweep.seeds))
    ]  # fmt: skip
    return _Told(
        "greedy", len(sweep.seeds), [note], tuple(rows), taken=tuple(names[p] for p in step.taken),
        arms=tuple(sorted(arms, key=lambda arm: -arm.value)),
    )  # fmt: skip


def _mean(game: Game, subset: int, seeds: Sequence[int]) -> float:
    """Over the seeds whose trial has a result; NaN without any."""
    values = [value for seed in seeds if (value := game.value(subset, seed)) is not None and np.isfinite(value)]
    return float(np.mean(values)) if values else float("nan")
