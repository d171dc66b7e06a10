"""What a finished search of subsets says of its classes: from the sweep's trials and probes to a report.

`methods` has a part for each method of search. `from_trials` speaks for arms that were trained one by one,
`from_probes` for one network that was probed under all of them, `rows` turns the numbers of either into the report.
`side_by_side` finds the settings that differ in the form of the mask or in the network alone, `verdict` says what holds
in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vprdist.attribution.finished import Finished, PlayersByQuery
from vprdist.attribution.side_by_side import form_of, side_by_side, with_forms_counted
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
    rows: list[SettingRow] = []
    kept: list[PlayersByQuery | None] = []
    seen: set[str] = set()
    for setting, family in zip(sweep.settings, families(sweep, value_of), strict=True):
        trial = next(t for point, t in zip(sweep.points, trials, strict=True) if setting.items() <= point.items())
        if trial.trial_id in seen:  # they differ in a key that none of them uses: the filling of a mask at the features
            continue
        seen.add(trial.trial_id)
        heard: list[PlayersByQuery] = []
        row = told(Finished(sweep, setting, family, trial, points, result_of, runs, heard.append))
        if row is not None:
            is_fixed = trial.train.steps == 0
            rows.append(row.model_copy(update={"form": form_of(trial), "is_fixed": is_fixed}))
            kept.append(heard[0] if heard else None)
    if not rows:
        return None
    rows = with_forms_counted(rows)
    beside = side_by_side(rows, kept)
    return AttributionReport(objective=sweep.objective, settings=tuple(rows), side_by_side=beside)
