"""What a finished search of subsets says of its classes: from the sweep's trials and probes to `attribution.json`.

`trained` speaks for arms that were trained one by one, `networks` for one network that was probed under all of them,
`rows` turns the numbers of either into the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vprdist.errors import DataError, SweepFileError
from vprdist.files import canonical_json
from vprdist.launch.capacity import usable_memory_gb
from vprdist.launch.folder import TrialFolder
from vprdist.probes import order_of
from vprdist.report.attribution import forget_attribution, write_attribution
from vprdist.spec.attribution import AttributionReport, SettingRow
from vprdist.spec.result import ResultRow
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec

WORTH_SAYING_GB = 0.1
"""Of memory: a driver takes half a gigabyte anyhow."""


def check_queries(sweep: SweepSpec, trials: Sequence[TrialSpec]) -> list[str]:
    """What the queries of a sweep of subsets can show at all; nothing for other sweeps, or while the city is not made.

    Raises:
        DataError: so few that nothing can be claimed, whatever comes out.
        SweepFileError: so many, under so many arms, that this machine cannot hold their values.
    """
    from vprdist.attribute.chances import num_clusters, tasks_of
    from vprdist.attribution.queries import fewest
    from vprdist.report.power import Noise, detectable

    subsets, trial = sweep.search.subsets, trials[0]
    if subsets is None or trial.data.root == "demo":
        return []
    tasks = tasks_of(trial)
    count, clusters, need = sum(len(task.queries) for task in tasks), num_clusters(tasks), fewest(subsets.confidence)
    found, what = count, "queries with a positive"
    # Trained arms have their intervals from seeds or draws, for the queries at hand; probes have them from clusters.
    if sweep.search.searcher == "one_network":
        found, what = clusters, "clusters of neighbouring queries (some ten frames of a sequence)"
    if found < need:
        rule = f"claims at confidence {subsets.confidence:g} need {need} {what}, at the very least"
        cities = "+".join(trial.data.validate_cities)
        raise DataError(f"{trial.data.root}: {cities}", rule, found, "Validate on more cities, or on larger ones.")
    told = _check_memory(sweep, count)
    least = detectable(num_queries=count, num_seeds=1, num_comparisons=1, noise=Noise())
    return [
        f"{count} queries in {clusters} cluster{'' if clusters == 1 else 's'}: differences in {sweep.objective} of two "
        f"trials from {least:.3f} on are found (80 % power at 5 %, noise assumed)",
        *told,
    ]


def _check_memory(sweep: SweepSpec, num_queries: int) -> list[str]:
    """What the values of probes take of the driver's memory."""
    from vprdist.attribute.memory import probe_memory_gb

    need, usable = probe_memory_gb(sweep, num_queries), usable_memory_gb()
    if need > usable:
        rule = f"the driver holds what all probes found: at most {usable:.3g} GB here"
        remedy = "Lower it, form groups of classes, or name fewer placebos."
        raise SweepFileError("search.subsets.probes", rule, f"{need:.3g} GB", remedy)
    return [f"the driver holds what probes found in {need:.2g} GB"] if need >= WORTH_SAYING_GB else []


def attribute(
    sweep: SweepSpec, trials: Sequence[TrialSpec], proposed: Mapping[str, str | None], results: Mapping[str, ResultRow],
    folder: Path, runs: Path,
) -> AttributionReport | None:  # fmt: skip
    """Write what each class contributes; nothing for lists of subsets and for Optuna's proposals.

    What an earlier search of the same name said goes, also where nothing takes its place.

    Args:
        trials: the sweep's resolved trials, one for each of its points and seeds.
        proposed: trial ids by the canonical JSON of the points that a searcher proposed; for `take` it is empty.
        results: of the trials that have one.
        folder: the sweep's.
    """
    from vprdist.attribute.networks import network_setting
    from vprdist.attribute.trained import trained_setting
    from vprdist.search.subset_rule import families, network_point

    search = sweep.search
    forget_attribution(folder)
    if search.subsets is None or search.searcher in ("random", "optuna") or isinstance(search.subsets.take, tuple):
        return None
    pairs = zip(sweep.points, trials, strict=True)
    ids = {canonical_json({**point, "seed": t.seed}): t.trial_id for point, t in pairs} | dict(proposed)

    def result_of(point: Point) -> ResultRow | None:
        return results.get(ids.get(canonical_json(point)) or "")

    def value_of(point: Point) -> float | None:
        row = result_of(point)
        return float("nan") if row is None else row.metrics[sweep.objective]

    told: list[SettingRow] = []
    for setting, family in zip(sweep.settings, families(sweep, value_of), strict=True):
        trial = next(t for point, t in zip(sweep.points, trials, strict=True) if setting.items() <= point.items())
        if search.searcher != "one_network":
            told.append(trained_setting(sweep, setting, family, trial, result_of))
            continue
        rows = [result_of(network_point(sweep, setting, seed)) for seed in sweep.seeds]
        networks = [row for row in rows if row is not None]
        if networks:
            orders = [order_of(sweep, setting, TrialFolder.of(runs, row.trial_id)) for row in networks]
            told.append(network_setting(sweep, family[0], setting, networks, orders, result_of, runs))
    if not told:
        return None
    report = AttributionReport(objective=sweep.objective, settings=tuple(told))
    write_attribution(folder, report)
    return report
