"""The method `greedy`: the best class, then the best beside it, and so on, until none adds anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vprdist.spec.methods.base import Method, at_each_setting, subsets_of

if TYPE_CHECKING:
    from vprdist.spec.read import Origin
    from vprdist.spec.search import SearchSpec
    from vprdist.spec.sweep import SweepSpec


class Greedy(Method):
    """Searches at each setting apart; placebos are asked of what it has taken in alone."""

    word = "greedy"
    target = "vprdist.search.methods.greedy:wanted"
    draws = False
    searches = "subsets"
    counts = True
    several_seeds = True
    controls = True

    def check(self, sweep: SweepSpec, origin: Origin) -> SweepSpec:
        if sweep.search.num_trials is not None:
            return sweep
        subsets = subsets_of(sweep)
        each = [subsets.greedy_trials(sweep.nobody_runs(at)) for at in sweep.settings]
        return sweep.with_num_trials(len(sweep.seeds) * sum(each))

    def lines(self, sweep: SweepSpec) -> Iterator[str]:
        count, each = subsets_of(sweep).num_players, at_each_setting(sweep)
        yield f"{count} trials, then one less each time{each}; it stops when no player adds anything"

    def attribution(self, search: SearchSpec) -> str | None:
        return "vprdist.attribution.methods.greedy:told"
