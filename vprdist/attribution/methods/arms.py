"""A searcher of subsets that says nothing of single classes: what each arm is worth, and no claim."""

from __future__ import annotations

import numpy as np

from vprdist.attribution.finished import Finished
from vprdist.attribution.from_trials import cost_of
from vprdist.attribution.rows import players_of
from vprdist.spec.attribution import ArmValue, SettingRow
from vprdist.spec.result import ResultRow
from vprdist.spec.subsets import Point, SubsetSpec


def told(finished: Finished) -> SettingRow | None:
    """The arms of one setting that have a result, best first; None without any."""
    sweep, subsets = finished.sweep, finished.family[0].subsets
    found: dict[int, dict[str, ResultRow]] = {}
    for point in finished.proposed:
        row = finished.result_of(point)
        if row is not None and finished.setting.items() <= point.items():
            found.setdefault(_subset(subsets, point), {})[row.trial_id] = row
    rows = [row for some in found.values() for row in some.values()]
    if not rows:
        return None
    arms = [
        ArmValue(
            players=players_of(subsets, subset), num_seeds=len(some),
            value=float(np.mean([row.metrics[sweep.objective] for row in some.values()])),
        )
        for subset, some in found.items()
    ]  # fmt: skip
    title = sweep.search.method.title
    return SettingRow(
        setting=finished.setting, method=title, confidence=subsets.confidence, nobody=None,
        num_queries=rows[0].num_queries, num_seeds=max(arm.num_seeds for arm in arms),
        arms=tuple(sorted(arms, key=lambda arm: -arm.value)), cost=cost_of(rows),
        notes=(f"the searcher {title} says nothing of single classes: these are the arms that it tried",),
    )  # fmt: skip


def _subset(subsets: SubsetSpec, point: Point) -> int:
    """The subset of a point: 0 for a network that gets no mask."""
    there = set(point.get("input.classes", ()))
    return sum(1 << i for i, own in enumerate(subsets.players.values()) if there >= set(own))
