"""What seeds change in other sweeps of a run folder: a word on luck for a sweep that has one seed a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import variance

from vprdist.errors import UserError
from vprdist.report.rows import check_result
from vprdist.spec.result import Protocol, ResultRow
from vprdist.store.manifest import read_manifest, sweep_folder, sweep_names
from vprdist.store.result_file import read_result
from vprdist.store.trial_folder import TrialFolder

MOST_RESULTS = 200
"""Results that are read: a run folder may hold thousands, and these say enough."""


@dataclass(frozen=True)
class SeedSpread:
    """The standard deviation of a score between seeds, pooled over `num_rows` rows of some sweeps."""

    sd: float
    freedom: int
    num_rows: int
    sweeps: tuple[str, ...]


def spread_elsewhere(runs: Path, protocol: Protocol, objective: str) -> SeedSpread | None:
    """Pooled over all rows of one protocol that have several seeds; None where there is none.

    It is as scores are seen, on these queries: what single queries explain is in it.
    """
    squares, freedom, num_rows, sweeps = 0.0, 0, 0, []
    for sweep, results in _seeds_of_rows(runs, protocol):
        squares += variance(result.metrics[objective] for result in results) * (len(results) - 1)
        freedom += len(results) - 1
        num_rows += 1
        sweeps.append(sweep)
    if not freedom:
        return None
    return SeedSpread(sqrt(squares / freedom), freedom, num_rows, tuple(dict.fromkeys(sweeps)))


def _seeds_of_rows(runs: Path, protocol: Protocol) -> Iterator[tuple[str, list[ResultRow]]]:
    """A sweep's name and the results of one row's seeds, each row once; what cannot be read is left out."""
    known: set[str] = set()
    num_found = 0
    for sweep in sweep_names(runs):
        try:
            entries = read_manifest(sweep_folder(runs, sweep))["trials"]
        except UserError:
            continue
        rows: dict[str, list[str]] = {}
        for entry in entries:
            rows.setdefault(entry["name"], []).append(entry["trial"])
        for trials in rows.values():
            wanted = [trial for trial in trials if trial not in known]
            if len(wanted) < 2 or num_found >= MOST_RESULTS:
                continue
            known.update(wanted)
            found = [result for trial in wanted if (result := _result(runs, trial, protocol)) is not None]
            if len({result.trial.model_copy(update={"seed": 0}).trial_id for result in found}) == 1 < len(found):
                num_found += len(found)
                yield sweep, found


def _result(runs: Path, trial: str, protocol: Protocol) -> ResultRow | None:
    path = TrialFolder.of(runs, trial).result_file
    try:
        result = read_result(path) if path.exists() else None
        if result is not None:
            check_result(path, result)
    except UserError:
        return None
    return result if result is not None and result.fingerprint == protocol.fingerprint else None
