"""The method of a sweep without a searcher: every point of the grid, and the subsets of `take` at each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vprdist.spec.methods.base import Method, subsets_of
from vprdist.spec.subsets import Point, SubsetSpec

if TYPE_CHECKING:
    from vprdist.spec.search import SearchSpec
    from vprdist.spec.sweep import SweepSpec


class Listed(Method):
    """Proposes nothing: the file lists its points."""

    proposes = False
    draws = False
    counts = True
    several_seeds = True
    controls = True
    arm_controls = True

    def first_points(self, sweep: SweepSpec, points: Sequence[Point]) -> list[Point]:
        subsets = subsets_of(sweep)
        every = [(at, subset) for at in sweep.arm_settings for subset in subsets.taken()]
        return [subsets.point(at, subset) for at, subset in every if subset or sweep.nobody_runs(at)]

    def claims_by_seeds(self, subsets: SubsetSpec) -> bool:
        return isinstance(subsets.take, str)

    def attribution(self, search: SearchSpec) -> str | None:
        subsets = search.subsets
        return "vprdist.attribution.methods.taken:told" if subsets and isinstance(subsets.take, str) else None
