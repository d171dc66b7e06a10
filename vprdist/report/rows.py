"""From the results of trials to rows: one configuration over its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from vprdist.errors import UserError
from vprdist.spec.result import Protocol, ResultRow
from vprdist.spec.search import Direction
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import METRICS
from vprdist.store.result_file import RUN_AGAIN, read_result


@dataclass(frozen=True)
class Row:
    """One configuration under one protocol, over its seeds.

    is_variant: another evaluation of the same descriptors (other dimensions, or the raw ones beside whitened ones).
    """

    name: str
    results: tuple[ResultRow, ...]
    is_variant: bool = False

    @property
    def trial(self) -> TrialSpec:
        return self.results[0].trial

    @property
    def protocol(self) -> Protocol | None:
        """None: a program's numbers are its own."""
        return self.results[0].protocol

    @property
    def fingerprint(self) -> str:
        """What names the protocol, or the program."""
        return self.results[0].fingerprint

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(result.trial.seed for result in self.results)

    def metric(self, name: str) -> float:
        """The mean over the seeds; NaN where a program left no number of that name in one of them."""
        return mean_of([result.metrics.get(name, math.nan) for result in self.results])

    def seed_spread(self, name: str) -> float | None:
        """The standard deviation over the seeds; None with one seed, or where one of them has no such number."""
        values = [result.metrics.get(name, math.nan) for result in self.results]
        if len(values) < 2 or any(map(math.isnan, values)):
            return None
        try:
            return stdev(values)
        except OverflowError:  # a program's numbers may be of any size
            return None

    def untrained(self, name: str) -> float | None:
        """The mean of the untrained network's metric; None where it was not measured."""
        values = [r.untrained[name] for r in self.results if r.untrained]
        return fmean(values) if values else None

    def below_untrained(self, name: str) -> bool | None:
        """Whether training made the row worse than the same network was before it; None where nobody measured."""
        before = self.untrained(name)
        return None if before is None else self.metric(name) < before - 1e-9


def mean_of(values: Sequence[float]) -> float:
    """The mean, also of numbers whose sum is none."""
    try:
        return fmean(values)
    except OverflowError:
        return math.fsum(value / len(values) for value in values)


def other_metrics(objective: str) -> list[str]:
    """The metrics that a table shows beside the objective: mAP@1 is R@1 by definition, and takes no column."""
    shown = {"recall@1", "map@1"} if objective in ("recall@1", "map@1") else {objective, "map@1"}
    return [name for name in METRICS if name not in shown]


def readable_results(
    paths: Iterable[Path], objective: str | None = None
) -> tuple[list[ResultRow], list[str]]:  # fmt: skip
    """The results that are there, and why others count for nothing: unreadable, or of another version or trial.

    Args:
        objective: a result without this number counts for nothing; None: whatever numbers they have.
    """
    results, refused = [], []
    for path in paths:
        if path.exists():
            try:
                result = read_result(path)
                check_result(path, result, objective)
            except UserError as error:
                refused.append(str(error))
            else:
                results.append(result)
    return results, refused


def check_result(path: Path, result: ResultRow, objective: str | None = None) -> None:
    """A copy of another trial's result would count twice; a missing score or a percentage would end the leaderboard.

    Numbers of a program's own may be any, but the objective must be among them.

    Raises:
        UserError: the result is another trial's, or a score of it is no share.
    """
    if result.trial_id != path.parent.name:
        raise UserError(path, "a result must be that of its folder's trial", result.trial_id, RUN_AGAIN)
    if result.protocol is not None:
        _check_shares(path, result)
    if objective is None or objective in result.metrics:
        return
    if objective in result.not_finite:
        fault = f"{objective}, which the sweep ranks by, must be finite, and came out as NaN or infinite"
        raise UserError(path, fault, None, f"Mend the program. {RUN_AGAIN}")
    fault = f"a result must have {objective}, which the sweep ranks by"
    numbers = ", ".join(result.metrics) or "no number at all"
    raise UserError(path, fault, numbers, "Let the program leave it, or set objective to a number that it leaves.")


def _check_shares(path: Path, result: ResultRow) -> None:
    found = [one.metrics for one in _measured(result)]
    found += [variant.metrics for one in _measured(result) for variant in one.variants]
    for scores in [*found, result.untrained] if result.untrained else found:
        for name in METRICS:
            if not -1e-9 <= scores.get(name, -1.0) <= 1 + 1e-9:
                raise UserError(
                    path, f"a result must have {name}, a share in [0, 1]", scores.get(name, "none"), RUN_AGAIN
                )


def group_rows(
    results: Sequence[ResultRow], names: Mapping[str, str], objective: str, direction: Direction = "maximize"
) -> list[Row]:
    """Rows, protocols together and best first within a protocol; equal rows by name.

    Variants are rows of their own, and so is each data set of a trial that has several: the first sets' protocols come
    first, those of variants alone last.
    """
    groups: dict[tuple[str, str, str, bool], list[ResultRow]] = {}
    for result in results:
        without_seed = result.trial.model_copy(update={"seed": 0}).trial_id
        name = names.get(result.trial_id, result.trial_id)
        for measured in _measured(result):
            for each in (measured, *_variants(measured)):
                key = (each.fingerprint, name, without_seed, each is not measured)
                groups.setdefault(key, []).append(each)
    rows = [
        Row(name, tuple(sorted(members, key=lambda r: r.trial.seed)), is_variant)
        for (_, name, _, is_variant), members in groups.items()
    ]
    asked = {row.fingerprint for row in rows if not row.is_variant}
    first = {row.fingerprint for row in rows if not row.is_variant and not row.results[0].data_set}

    def place(row: Row) -> tuple[bool, bool, str, bool, float, str]:
        protocol, value = row.fingerprint, row.metric(objective)
        is_none = math.isnan(value)
        worse = 0.0 if is_none else value if direction == "minimize" else -value
        return protocol not in asked, protocol not in first, protocol, is_none, worse, row.name

    return sorted(rows, key=place)


def _measured(result: ResultRow) -> list[ResultRow]:
    """A result on each of its data sets. The untrained network was asked on the first alone."""
    named = ("protocol", "metrics", "city_metrics", "variants", "data_set")
    others = [{name: getattr(other, name) for name in named} for other in result.others]
    return [result, *(result.model_copy(update={**each, "untrained": None, "others": ()}) for each in others)]


def _variants(result: ResultRow) -> list[ResultRow]:
    """A result's other evaluations as results. The untrained network was not evaluated so."""
    return [
        result.model_copy(
            update={
                "protocol": variant.protocol,
                "metrics": variant.metrics,
                "city_metrics": variant.city_metrics,
                "untrained": None,
                "variants": (),
            }
        )
        for variant in result.variants
    ]
