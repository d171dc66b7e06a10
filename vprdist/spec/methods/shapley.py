"""The method `shapley`: draws of orders in which all players join, until their ranking is settled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from vprdist.errors import SweepFileError
from vprdist.spec.methods.base import Method, at_each_setting, subsets_of
from vprdist.spec.subsets import FIRST_LOOK

if TYPE_CHECKING:
    from vprdist.spec.read import Origin
    from vprdist.spec.search import SearchSpec
    from vprdist.spec.sweep import SweepSpec


class Shapley(Method):
    """Each draw has a seed of its own; placebos make the same draws as the masks that they stand for."""

    word = "shapley"
    target = "vprdist.search.methods.shapley:wanted"
    searches = "subsets"
    seeds_remedy = "Name the first: each draw of an order has a seed of its own, counted from there."
    controls = True
    arm_controls = True
    own_fields: ClassVar[Mapping[str, str]] = {"tie": "ties"}

    def check(self, sweep: SweepSpec, origin: Origin) -> SweepSpec:
        subsets, most = subsets_of(sweep), sweep.search.num_trials or 0
        fewest = FIRST_LOOK * sum(subsets.draw_trials(sweep.nobody_runs(setting)) for setting in sweep.arm_settings)
        if most < fewest:
            fault = f"{FIRST_LOOK} draws of {subsets.num_players} players need {fewest} trials, and fewer tell nothing"
            where, remedy = origin.where(("search", "num_trials")), "Raise num_trials, or form groups of classes."
            raise SweepFileError(where, fault, sweep.search.num_trials, remedy)
        return sweep

    def lines(self, sweep: SweepSpec) -> Iterator[str]:
        subsets = subsets_of(sweep)
        each = max(subsets.draw_trials(sweep.nobody_runs(setting)) for setting in sweep.arm_settings)
        fewest = f"{FIRST_LOOK} draws ({FIRST_LOOK * each} trials)"
        yield f"{each} trials a draw (an order, its reverse, a seed of its own){at_each_setting(sweep)}"
        yield f"it stops at {fewest} or later, when the ranking is settled at {subsets.confidence:g}"

    def attribution(self, search: SearchSpec) -> str | None:
        return "vprdist.attribution.methods.shapley:told"
