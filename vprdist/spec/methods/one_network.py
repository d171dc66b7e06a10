"""The method `one_network`: one network learns to see under every subset, and is evaluated under each of them.

A network that is not trained (`train.steps: 0`) is evaluated under them as it is: which classes does it use?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from vprdist.errors import RuleError, SweepFileError
from vprdist.spec.methods.base import Method, subsets_of
from vprdist.spec.probes import check_pooled
from vprdist.spec.subsets import FIRST_LOOK, Point, SubsetSpec

if TYPE_CHECKING:
    from vprdist.spec.read import Origin
    from vprdist.spec.search import SearchSpec
    from vprdist.spec.sweep import SweepSpec


class OneNetwork(Method):
    """A network a setting and seed; once they are probed, the best subsets are trained alone beside everybody."""

    word = "one_network"
    target = "vprdist.search.methods.one_network:wanted"
    searches = "subsets"
    counts = True
    several_seeds = True
    controls = True
    trains_one = True
    own_fields: ClassVar[Mapping[str, str]] = {"finalists": "finalists", "probes": "probes"}

    def first_points(self, sweep: SweepSpec, points: Sequence[Point]) -> list[Point]:
        """The networks, and what a finalist is like: what is not trained has none."""
        subsets = subsets_of(sweep)
        found = list[Point]()
        for at in points:
            found.append(sweep.subsets_at(at).network_point(at, sweep.trains(at)))
            found += [subsets.point(at, subsets.everybody)] if sweep.trains(at) else []
        return found

    def check(self, sweep: SweepSpec, origin: Origin) -> SweepSpec:
        search, subsets = sweep.search, subsets_of(sweep)
        every, fewest = 2**subsets.num_players - 1, FIRST_LOOK * (2 * subsets.num_players - 1)
        if subsets.probes < min(every, fewest):
            fault = f"probes must be all {every} subsets, or at least {FIRST_LOOK} draws of orders, {fewest}"
            where = origin.where(("search", "subsets", "probes"))
            raise SweepFileError(where, fault, subsets.probes, "Raise it, or form groups of classes.")
        _check_probes(sweep, origin)
        trains = any(map(sweep.trains, sweep.settings))
        if not trains and "finalists" not in subsets.model_fields_set:
            subsets = subsets.model_copy(update={"finalists": 0})
            search = search.model_copy(update={"subsets": subsets})
            sweep = sweep.model_copy(update={"search": search})
        if subsets.num_finalists and not trains:
            where = origin.where(("search", "subsets", "finalists"))
            fault = "with train.steps 0 no finalist can be trained alone"
            remedy = "Set search.subsets.finalists: 0, or trial.train.steps."
            raise SweepFileError(where, fault, subsets.finalists, remedy)
        most = len(sweep.seeds) * sum(sweep.subsets_at(at).network_trials() for at in sweep.settings)
        if search.num_trials is None:
            return sweep.with_num_trials(most)
        if search.num_trials < most:
            where, fault = (
                origin.where(("search", "num_trials")),
                f"the number of trials must be that of networks and finalists, {most}",
            )
            raise SweepFileError(where, fault, search.num_trials, "Delete it, or name fewer seeds or finalists.")
        return sweep

    def num_distinct(self, sweep: SweepSpec) -> int:
        """The networks, and beside each its finalists: settings that are one trial have all of them in common."""
        every = sum(sweep.subsets_at(at).network_trials() for at in networks_of(sweep).values())
        return min(sweep.num_trials, every)

    def claims_by_seeds(self, subsets: SubsetSpec) -> bool:
        return True

    def lines(self, sweep: SweepSpec) -> Iterator[str]:
        subsets = subsets_of(sweep)
        fixed = sum(not sweep.trains(at) for at in sweep.settings)
        if subsets.finalists:
            but = f", but where train.steps is 0 ({fixed} of {len(sweep.settings)} settings)" if fixed else ""
            yield f"then everybody and the {subsets.num_finalists} best subsets are trained alone{but}"
        yield f"{sweep.num_distinct} trials in all"

    def attribution(self, search: SearchSpec) -> str | None:
        return "vprdist.attribution.methods.one_network:told"


def networks_of(sweep: SweepSpec) -> dict[str, Point]:
    """A setting of each network, by what the network's trial is: settings may be one and the same trial."""
    trials, found = iter(sweep.trials), dict[str, Point]()
    for at in sweep.settings:
        for trial in islice(trials, len(sweep.seeds)):
            found.setdefault(trial.undigested.model_dump_json(), at)
        if sweep.trains(at):  # what its finalists are like comes after it (`first_points`): nobody asks for it here
            list(islice(trials, len(sweep.seeds)))
    return found


def _check_probes(sweep: SweepSpec, origin: Origin) -> None:
    """Whether probes can be pooled where they are asked to be.

    Raises:
        SweepFileError: nowhere, or not of such networks.
    """
    if sweep.search.probes.how != "pooled":
        return
    if not any(sweep.pools_at(setting) for setting in sweep.settings):
        fault = "probes are pooled from sums where masks weigh the features, and here none do"
        remedy = "Set trial.input.mask_at: features, or search.probes.how: each."
        raise SweepFileError(origin.where(("search", "probes", "how")), fault, "pooled", remedy)
    for trial in sweep.trials:
        if trial.input.at_features:
            try:
                check_pooled(trial)
            except RuleError as error:
                where = sweep.where(f"trial.{error.field}")
                raise SweepFileError(where, error.fault, error.value, error.remedy) from None
