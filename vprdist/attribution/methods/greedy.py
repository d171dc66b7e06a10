"""A greedy selection: which classes were taken in, in which order, and what each step brought."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from vprdist.attribution.finished import Finished
from vprdist.attribution.from_trials import Told, trained_setting
from vprdist.attribution.rows import players_of
from vprdist.game.state import Game, greedy_state
from vprdist.spec.attribution import ArmValue, Effect, PlayerRow, SettingRow
from vprdist.spec.subsets import SubsetSpec
from vprdist.spec.sweep import SweepSpec


def told(finished: Finished) -> SettingRow:
    """What one setting's steps say."""
    return trained_setting(finished, _greedy)


def _greedy(sweep: SweepSpec, subsets: SubsetSpec, family: Sequence[Game]) -> Told:
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
    return Told(
        "greedy", len(sweep.seeds), [note], tuple(rows), taken=tuple(names[p] for p in step.taken),
        arms=tuple(sorted(arms, key=lambda arm: -arm.value)),
    )  # fmt: skip


def _mean(game: Game, subset: int, seeds: Sequence[int]) -> float:
    """Over the seeds whose trial has a result; NaN without any."""
    values = [value for seed in seeds if (value := game.value(subset, seed)) is not None and np.isfinite(value)]
    return float(np.mean(values)) if values else float("nan")
