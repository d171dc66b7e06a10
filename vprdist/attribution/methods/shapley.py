"""Shapley's values from draws of orders, and what every two classes do to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vprdist.attribution.finished import Finished
from vprdist.attribution.from_trials import Told, trained_players, trained_setting
from vprdist.attribution.rows import pair_rows
from vprdist.game.draws import Floats
from vprdist.game.exact import pairs
from vprdist.game.inference import row_effects
from vprdist.game.interactions import interactions
from vprdist.game.state import Drawn, Game
from vprdist.search.methods.shapley import drawn
from vprdist.spec.attribution import PairRow, SettingRow
from vprdist.spec.subsets import SubsetSpec
from vprdist.spec.sweep import SweepSpec


def told(finished: Finished) -> SettingRow:
    """What one setting's draws say."""
    return trained_setting(finished, _shapley)


def _shapley(sweep: SweepSpec, subsets: SubsetSpec, family: Sequence[Game]) -> Told:
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
    return Told("shapley", len(shared), notes, trained_players(subsets, rows), pairs_found)


def _of_draws(state: Drawn, rows: Sequence[int]) -> Floats:
    """(R, n) contributions of some of a search's draws."""
    chosen = [state.rows.index(row) for row in rows]
    part = replace(state, orders=state.orders[chosen], forward=state.forward[chosen], backward=state.backward[chosen])
    return part.contributions
