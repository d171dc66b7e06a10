"""What the queries of a sweep of subsets can show at all, and what the values of its probes take."""

from __future__ import annotations

from collections.abc import Sequence

from vprdist.errors import DataError, SweepFileError
from vprdist.machine import usable_memory_gb
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec

WORTH_SAYING_GB = 0.1
"""Less memory is not worth a word: a driver takes half a gigabyte anyhow."""


def check_queries(sweep: SweepSpec, trials: Sequence[TrialSpec]) -> list[str]:
    """What the queries of a sweep of subsets can show at all; nothing for other sweeps, or while the city is not made.

    Raises:
        DataError: so few that nothing can be claimed, whatever comes out.
        SweepFileError: so many, under so many arms, that this machine cannot hold their values.
    """
    from vprdist.attribution.chances import num_clusters
    from vprdist.data.tasks import tasks_of
    from vprdist.game.queries import fewest
    from vprdist.plan.noise import Noise, detectable

    subsets, trial = sweep.search.subsets, trials[0]
    if subsets is None or trial.data.root == "demo":
        return []
    tasks = tasks_of(trial)
    count, clusters, need = sum(len(task.queries) for task in tasks), num_clusters(tasks), fewest(subsets.confidence)
    found, what = count, "queries with a positive"
    # Trained arms have their intervals from seeds or draws, for the queries at hand; probes have them from clusters.
    if sweep.search.method.trains_one:
        found, what = clusters, "clusters of neighbouring queries (some ten frames of a sequence)"
    if found < need:
        fault = f"claims at confidence {subsets.confidence:g} need {need} {what}, at the very least"
        cities = "+".join(trial.data.validate_cities)
        raise DataError(f"{trial.data.root}: {cities}", fault, found, "Validate on more cities, or on larger ones.")
    told = _check_memory(sweep, count)
    least = detectable(num_queries=count, num_seeds=1, num_comparisons=1, noise=Noise())
    return [
        f"{count} queries in {clusters} cluster{'' if clusters == 1 else 's'}: differences in {sweep.objective} of two "
        f"trials from {least:.3f} on are found (80 % power at 5 %, noise assumed)",
        *told,
    ]


def _check_memory(sweep: SweepSpec, num_queries: int) -> list[str]:
    """What the values of probes take of the driver's memory."""
    from vprdist.plan.probe_memory import probe_memory_gb

    need, usable = probe_memory_gb(sweep, num_queries), usable_memory_gb()
    if need > usable:
        fault = f"the driver must hold what all probes found, in at most {usable:.3g} GB here"
        remedy = "Lower it, form groups of classes, or name fewer placebos."
        raise SweepFileError("search.subsets.probes", fault, f"{need:.3g} GB", remedy)
    return [f"the driver holds what probes found in {need:.2g} GB"] if need >= WORTH_SAYING_GB else []
