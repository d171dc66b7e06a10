"""What probes of a trial's network found: their values on each query, and what they took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.errors import UserError
from vprdist.game.probing import best_subsets
from vprdist.parquet import read_parquet
from vprdist.probes.order import PART_ARMS, PROBE_COLUMNS, PROBES, PartReport, Probe, ProbeOrder
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec
from vprdist.store.queries import Queries, queries_path, read_queries
from vprdist.store.reading import found_in, read_spec
from vprdist.store.result_file import RUN_AGAIN
from vprdist.store.trial_folder import TrialFolder, trials_folder


@dataclass(frozen=True)
class ProbeValues:
    """What a network's probes are worth on the queries of one subtask.

    Attributes:
        queries: the queries, in the order of the columns of `values`.
        probes: by probe its row in `values`.
        values_KQ: (K, Q) float32, the metric of each query.
    """

    queries: Queries
    probes: Mapping[Probe, int]
    values_KQ: npt.NDArray[np.float32]

    def of(self, probe: Probe) -> npt.NDArray[np.float32]:
        """(Q,) of one probe."""
        row: npt.NDArray[np.float32] = self.values_KQ[self.probes[probe]]
        return row


def read_probes(order: ProbeOrder, metric: str, queries: Queries, subtask: str) -> ProbeValues:
    """The values of a network's probes, which are all made.

    Args:
        queries: of the network's trial; those of the subtask are kept.

    Raises:
        UserError: a part cannot be read, or is of other queries.
    """
    own = queries.only(subtask)
    values = np.empty((len(order.probes), len(own.query)), np.float32)
    for place, columns, rows in _parts(order, own, subtask, metric):
        found = np.array([columns[metric][row] for row in rows], np.float32).reshape(len(rows), -1)
        values[place : place + found.shape[1]] = found.T
    return ProbeValues(own, {probe: row for row, probe in enumerate(order.probes)}, values)


def read_nearest(order: ProbeOrder, probes: Sequence[Probe], queries: Queries, subtask: str) -> dict[Probe, list[str]]:
    """By probe, the key of the first image retrieved for each query of the subtask, in the order of `queries`."""
    own = queries.only(subtask)
    wanted, out = set(probes), dict[Probe, list[str]]()
    for place, columns, rows in _parts(order, own, subtask, "nearest"):
        for index, probe in enumerate(order.probes[place : place + PART_ARMS]):
            if probe in wanted:
                out[probe] = [str(columns["nearest"][row][index]) for row in rows]
    return out


def _parts(
    order: ProbeOrder, own: Queries, subtask: str, column: str
) -> Iterator[tuple[int, dict[str, list[Any]], list[int]]]:
    """Each part: its first probe, its columns, and their rows in the order of the queries."""
    keys = list(zip(own.city.tolist(), own.query.tolist(), strict=True))
    place = 0
    for path, probes in order.parts.items():
        try:
            columns = read_parquet(path, (*PROBE_COLUMNS[:3], column))
        except (KeyError, OSError, ValueError, TypeError, NotImplementedError) as error:
            raise UserError(path, "a part of probes must be readable", found_in(error), _again(path)) from None
        at = {
            (city, query): row
            for row, (of, city, query) in enumerate(zip(*(columns[n] for n in PROBE_COLUMNS[:3]), strict=True))
            if of == subtask
        }
        if at.keys() != set(keys) or any(len(columns[column][row]) != len(probes) for row in at.values()):
            raise UserError(path, "a part must have every query of its trial, under each probe", len(at), _again(path))
        yield place, columns, [at[key] for key in keys]
        place += len(probes)


def values_of(order: ProbeOrder, objective: str) -> ProbeValues:
    """The values of a network's probes on the queries of its own result.

    Raises:
        UserError: what the network left cannot be read.
    """
    folder = Path(order.trial)
    subtask = TrialFolder(folder).result().own_protocol.subtask
    return read_probes(order, objective, queries_of(folder), subtask)


def queries_of(folder: Path) -> Queries:
    """What a finished trial found for each query.

    Raises:
        UserError: it cannot be read.
    """
    found = read_queries(queries_path(folder))
    if found is None:
        raise UserError(queries_path(folder), "the trial has no per-query results", None, RUN_AGAIN)
    return found


def finalists_of(sweep: SweepSpec, setting: Point, orders: Sequence[ProbeOrder]) -> list[int]:
    """The subsets that are trained on their own: everybody, and the best others by the mean of a setting's networks."""
    subsets = sweep.subsets_at(setting)
    if not orders or not subsets.finalists:
        return []
    found = [values_of(order, sweep.objective) for order in orders]
    means = np.mean([each.values_KQ.mean(axis=1) for each in found], axis=0)
    shown = {subset: float(means[row]) for (subset, kind), row in found[0].probes.items() if kind == "none" and subset}
    del shown[subsets.everybody]
    return [subsets.everybody, *best_subsets(shown, subsets.finalists)]


def reports(order: ProbeOrder) -> list[PartReport]:
    """What the parts that are there took, and the sums that they are pooled from.

    Raises:
        UserError: a report cannot be read, or is of other probes.
    """
    found = [_read_report_of_sums(path) for path in sorted(order.sums.glob("*.json"))] if order.how == "pooled" else []
    for path, probes in order.parts.items():
        if path.exists():
            beside = path.with_suffix(".json")
            found.append(_read_report(beside))
            if found[-1].probes != probes:
                fault = "the report of a part of probes must be of its probes"
                raise UserError(beside, fault, len(found[-1].probes), _again(path))
    return found


def pictures_summed(order: ProbeOrder) -> tuple[int, int]:
    """Pictures whose sums are there, as their reports say, and pictures of the network's protocol.

    Raises:
        UserError: the network's result cannot be read.
    """
    protocol, summed = TrialFolder(Path(order.trial)).result().own_protocol, 0
    for path in order.sums.glob("*.json"):
        with suppress(UserError, OSError):  # it tells no more than how far they are
            summed += _read_report_of_sums(path).num_pictures
    total = protocol.num_queries + protocol.num_database
    return min(summed, total), total


def newest_reports(runs: Path, most: int) -> Iterator[tuple[TrialSpec, PartReport]]:
    """What the newest parts of a `runs` folder took, each with the trial of its network.

    Args:
        most: parts that are looked at; what cannot be read is left out.
    """
    paths = trials_folder(runs).glob(f"*/{PROBES}/*/*.json")
    newest = sorted(paths, key=lambda path: path.lstat().st_mtime, reverse=True)
    for path in [path for path in newest if path.with_suffix(".parquet").exists()][:most]:
        try:
            found = TrialFolder(path.parents[2]).trial(), _read_report(path)
        except (UserError, OSError, ValueError):
            continue
        yield found


def _read_report(path: Path) -> PartReport:
    remedy = _again(path.with_suffix(".parquet"))
    try:
        return read_spec(path, PartReport, "the report of a part of probes", remedy)
    except FileNotFoundError:
        raise UserError(path, "the report of a part of probes is missing", None, remedy) from None


def _read_report_of_sums(path: Path) -> PartReport:
    """Nobody makes it again while its sums are there, and it tells what they took alone."""
    remedy = f"Delete it: {path}. The sums beside it stay; what they took is not told then."
    return read_spec(path, PartReport, "the report of a block of sums", remedy)


def _again(path: Path) -> str:
    return f"Delete it and run the sweep again: {path}."
