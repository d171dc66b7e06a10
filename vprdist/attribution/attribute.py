"""What a finished search of subsets says of its classes: from the sweep's trials and probes to a report.

`methods` has a part for each method of search. `from_trials` speaks for arms that were trained one by one,
`from_probes` for one network that was probed under all of them, `rows` turns the numbers of either into the report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vprdist.attribution.finished import Finished
from vprdist.files import canonical_json
from vprdist.spec.attribution import AttributionReport, SettingRow
from vprdist.spec.methods import load
from vprdist.spec.result import ResultRow
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec


def attribute(
    sweep: SweepSpec, trials: Sequence[TrialSpec], proposed: Mapping[str, str | None], results: Mapping[str, ResultRow],
    runs: Path,
) -> AttributionReport | None:  # fmt: skip
    """What each class adds; None where the method says nothing of classes, and where no trial has a result.

    Args:
        trials: the sweep's resolved trials, one for each of its points and seeds.
        proposed: trial ids by the canonical JSON of the points that a searcher proposed; for `take` it is empty.
        results: of the trials that have one.
    """
    from vprdist.search.subset_rule import families

    target = None if sweep.search.subsets is None else sweep.search.method.attribution(sweep.search)
    if target is None:
        return None
    told: Callable[[Finished], SettingRow | None] = load(target)
    pairs = zip(sweep.points, trials, strict=True)
    ids = {canonical_json({**point, "seed": t.seed}): t.trial_id for point, t in pairs} | dict(proposed)

    def result_of(point: Point) -> ResultRow | None:
        return results.get(ids.get(canonical_json(point)) or "")

    def value_of(point: Point) -> float | None:
        row = result_of(point)
        return float("nan") if row is None else row.metrics[sweep.objective]

    points: list[Point] = [json.loads(point) for point in proposed]
    found = []
    for setting, family in zip(sweep.settings, families(sweep, value_of), strict=True):
        trial = next(t for point, t in zip(sweep.points, trials, strict=True) if setting.items() <= point.items())
        found.append(told(Finished(sweep, setting, family, trial, points, result_of, runs)))
    rows = tuple(row for row in found if row is not None)
    return AttributionReport(objective=sweep.objective, settings=rows) if rows else None
