"""Leave-one-out and add-one-in: what each class adds to all others, or to nobody."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vprdist.attribution.finished import Finished
from vprdist.attribution.from_trials import Told, trained_players, trained_setting
from vprdist.game.state import Game, taken_contributions
from vprdist.spec.attribution import SettingRow
from vprdist.spec.subsets import SubsetSpec
from vprdist.spec.sweep import SweepSpec


def told(finished: Finished) -> SettingRow:
    """What one setting's trials say."""
    return trained_setting(finished, _taken)


def _taken(sweep: SweepSpec, subsets: SubsetSpec, family: Sequence[Game]) -> Told:
    """Leave-one-out and add-one-in: one row a seed, of which every arm has a result."""
    by_seed = [[taken_contributions(game, (seed,)) for game in family] for seed in sweep.seeds]
    by_seed = [kinds for kinds in by_seed if all(map(len, kinds))]
    missing = len(sweep.seeds) - len(by_seed)
    notes = [f"{len(by_seed)} seed(s)" + (f"; {missing} left out, since a trial failed" if missing else "")]
    if len(by_seed) == 1:
        notes.append("one seed tells no interval: 'seeds=[0,1,2]' on the same command")
    empty = np.empty((0, subsets.num_players))
    rows = [np.concatenate([empty, *(kinds[kind] for kinds in by_seed)]) for kind in range(len(family))]
    return Told(str(subsets.take), len(by_seed), notes, trained_players(subsets, rows))
