"""From the results of trials to rows: one configuration over its seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from vprdist.spec.result import Protocol, ResultRow
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import CLASS_GROUPS


@dataclass(frozen=True)
class Row:
    """One configuration under one protocol, over its seeds."""

    name: str
    results: tuple[ResultRow, ...]

    @property
    def trial(self) -> TrialSpec:
        return self.results[0].trial

    @property
    def protocol(self) -> Protocol:
        return self.results[0].protocol

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(result.trial.seed for result in self.results)

    def metric(self, name: str) -> float:
        """The mean over the seeds."""
        return fmean(result.metrics[name] for result in self.results)

    def seed_spread(self, name: str) -> float | None:
        """The standard deviation over the seeds; None with one seed."""
        return stdev(r.metrics[name] for r in self.results) if len(self.results) > 1 else None

    def query_noise(self, name: str) -> float:
        """Half of Wilson's 95 % interval: what the number of queries alone leaves open in a recall@k."""
        share, count, z = self.metric(name), self.protocol.num_queries, 1.96
        spread = share * (1 - share) / count + z**2 / (4 * count**2)
        return z * math.sqrt(spread) / (1 + z**2 / count)

    def untrained(self, name: str) -> float | None:
        """The mean of the untrained network's metric; None where it was not measured."""
        values = [r.untrained[name] for r in self.results if r.untrained]
        return fmean(values) if values else None


def row_names(trials: Sequence[TrialSpec], axes: Sequence[str]) -> dict[str, str]:
    """A name for each trial id: its values on the swept axes, without those that its mode ignores."""
    return {trial.trial_id: " ".join(filter(None, (_axis_value(trial, axis) for axis in axes))) for trial in trials}


def _axis_value(trial: TrialSpec, axis: str) -> str:
    value: object = trial.to_json()
    for part in axis.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return ""
    if isinstance(value, list):
        group = next((name for name, classes in CLASS_GROUPS.items() if list(classes) == value), None)
        return group or "+".join(map(str, value))
    return str(value)


def group_rows(results: Sequence[ResultRow], names: Mapping[str, str], objective: str) -> list[Row]:
    """Rows, protocols together and best first within a protocol; equal rows by name."""
    groups: dict[tuple[str, str, str], list[ResultRow]] = {}
    for result in results:
        without_seed = result.trial.model_copy(update={"seed": 0}).trial_id
        key = (result.protocol.fingerprint, names.get(result.trial_id, result.trial_id), without_seed)
        groups.setdefault(key, []).append(result)
    rows = [Row(name, tuple(sorted(members, key=lambda r: r.trial.seed))) for (_, name, _), members in groups.items()]
    return sorted(rows, key=lambda row: (row.protocol.fingerprint, -row.metric(objective), row.name))
