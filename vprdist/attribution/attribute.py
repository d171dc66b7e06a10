"""What a finished search of subsets says of its classes: from the sweep's trials and probes to a report.

`from_trials` speaks for arms that were trained one by one, `from_probes` for one network that was probed under all of
them, `rows` turns the numbers of either into the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vprdist.files import canonical_json
from vprdist.probes.make import order_of
from vprdist.spec.attribution import AttributionReport, SettingRow
from vprdist.spec.result import ResultRow
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import TrialFolder


def attribute(
    sweep: SweepSpec, trials: Sequence[TrialSpec], proposed: Mapping[str, str | None], results: Mapping[str, ResultRow],
    runs: Path,
) -> AttributionReport | None:  # fmt: skip
    """What each class adds; None for lists of subsets, for Optuna's proposals, and where no trial has a result.

    Args:
        trials: the sweep's resolved trials, one for each of its points and seeds.
        proposed: trial ids by the canonical JSON of the points that a searcher proposed; for `take` it is empty.
        results: of the trials that have one.
    """
    from vprdist.attribution.from_probes import network_setting
    from vprdist.attribution.from_trials import trained_setting
    from vprdist.search.subset_rule import families, network_point

    search = sweep.search
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
    return AttributionReport(objective=sweep.objective, settings=tuple(told))
