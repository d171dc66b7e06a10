"""What each trial found for each query: `predictions/queries.parquet`, as rank 0 of its job leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.errors import UserError
from vprdist.parquet import read_parquet
from vprdist.spec.result import QUERY_COLUMNS
from vprdist.spec.vocabulary import METRICS
from vprdist.store.clusters import clusters
from vprdist.store.reading import found_in
from vprdist.store.result_file import RUN_AGAIN
from vprdist.store.trial_folder import TrialFolder

PLACES = ("subtask", "city", "query", "sequence_key", "frame_number", "view_direction")
GROUNDS = ("easting", "northing")
LONGEST_NAME = 500
"""Characters; numpy gives every name as many bytes as the longest one has."""
Words = npt.NDArray[Any]


def queries_file(predictions: Path, data_set: str = "") -> Path:
    """Where an evaluation keeps them, beside its predictions; on another data set of a trial that has several."""
    return predictions / (f"queries-{data_set}.parquet" if data_set else "queries.parquet")


def queries_path(trial_folder: Path, data_set: str = "") -> Path:
    """Where a trial keeps them."""
    return queries_file(TrialFolder(trial_folder).predictions, data_set)


def asked_path(runs: Path, asked: str) -> Path:
    """Where those of `spec.result.ResultRow.asked` lie."""
    trial, _, data_set = asked.partition("@")
    return queries_path(TrialFolder.of(runs, trial).path, data_set)


@dataclass(frozen=True)
class Queries:
    """One trial's queries, sorted by subtask, city and key; arrays of length N. A query stands once a subtask."""

    subtask: Words
    city: Words
    query: Words
    view_direction: Words
    easting_m: npt.NDArray[np.float64]
    northing_m: npt.NDArray[np.float64]
    cluster: npt.NDArray[np.int64]
    metrics: dict[str, npt.NDArray[np.float32]]

    def only(self, subtask: str) -> Queries:
        """Those of one subtask."""
        chosen = self.subtask == subtask
        metrics = {name: values[chosen] for name, values in self.metrics.items()}
        return Queries(
            self.subtask[chosen], self.city[chosen], self.query[chosen], self.view_direction[chosen],
            self.easting_m[chosen], self.northing_m[chosen], self.cluster[chosen], metrics,
        )  # fmt: skip

    def same_as(self, other: Queries) -> bool:
        """The same queries were asked."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("subtask", "city", "query", "cluster")
        )

    def sharing(self, other: Queries) -> Queries:
        """The same, holding the other's arrays where they are equal: a thousand trials answer the same queries."""
        names = (field.name for field in fields(self) if field.name != "metrics")
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in names)
        return replace(self, **{name: theirs for name, mine, theirs in pairs if np.array_equal(mine, theirs)})


def read_queries(path: Path) -> Queries | None:
    """A trial's queries; None where it left none (descriptors from elsewhere, or a trial that was cut).

    Raises:
        UserError: the file cannot be read, lacks a column, has a gap in one, or names a query twice.
    """
    if not path.exists():
        return None
    columns = _columns(path, (*PLACES, *GROUNDS, *METRICS))
    if gap := next((name for name in PLACES if None in columns[name]), None):
        raise UserError(path, f"a query has no {gap}", None, RUN_AGAIN)
    if bad := next((name for name in (*GROUNDS, *METRICS) if not _are_numbers(columns[name])), None):
        raise UserError(path, f"the {bad} of a query must be a number", None, RUN_AGAIN)
    if not _are_whole(columns["frame_number"]):
        raise UserError(path, "a frame's number must be a whole number below 2**63", None, RUN_AGAIN)
    if bad := next((name for name in PLACES if name != "frame_number" and not _are_names(columns[name])), None):
        raise UserError(path, f"the {bad} of a query must be a name", None, RUN_AGAIN)
    keys = np.array(["\0".join(parts) for parts in zip(*(columns[c] for c in PLACES[:3]), strict=True)])
    order = np.argsort(keys, kind="stable")
    if (doubled := keys[order][1:] == keys[order][:-1]).any():
        found = str(keys[order][1:][doubled][0]).replace("\0", " ")
        raise UserError(path, "a query stands twice in a subtask", found, RUN_AGAIN)
    words = {name: np.array(columns[name], dtype=object)[order] for name in PLACES if name != "frame_number"}
    frames = np.array(columns["frame_number"])[order]
    numbers = {name: np.array(columns[name], np.float64)[order] for name in GROUNDS}
    # A query is of one cluster in all its subtasks: clusters are cut over the queries of each subtask's own.
    cluster = np.empty(len(order), np.int64)
    for subtask in np.unique(words["subtask"].astype(str)):
        chosen = words["subtask"] == subtask
        cluster[chosen] = clusters(words["city"][chosen], words["sequence_key"][chosen], frames[chosen])
    return Queries(
        words["subtask"], words["city"], words["query"], words["view_direction"],
        numbers["easting"], numbers["northing"], cluster,
        {name: np.array(columns[name], np.float32)[order] for name in METRICS},
    )  # fmt: skip


def read_answers(path: Path, wanted: Sequence[tuple[str, str]], subtask: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What was retrieved for some (city, query): `retrieved`, `hits`, `positives`, as the file has them."""
    names = ("subtask", "city", "query", "retrieved", "hits", "positives")
    columns = _columns(path, names)
    asked = set(wanted)
    if not (_are_names(columns["city"]) and _are_names(columns["query"])):
        raise UserError(path, "the city and the key of a query must be names", None, RUN_AGAIN)
    for name, kind in zip(names[3:], (str, bool, str), strict=True):
        if not all(isinstance(each, list) and all(isinstance(one, kind) for one in each) for each in columns[name]):
            raise UserError(path, f"the {name} of a query must be a list of its kind", None, RUN_AGAIN)
    return {
        (city, query): dict(zip(names[3:], answer, strict=True))
        for task, city, query, *answer in zip(*(columns[name] for name in names), strict=True)
        if task == subtask and (city, query) in asked
    }


def read_query_columns(path: Path) -> dict[str, list[Any]] | None:
    """The file as it is, column by column (`spec.result.QUERY_COLUMNS`); None where there is none.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    return _columns(path, QUERY_COLUMNS) if path.exists() else None


def _are_numbers(values: Sequence[Any]) -> bool:
    """Numbers, or nothing: where a city has no places on a map."""
    return set(map(type, values)) <= {float, int, type(None)}


def _are_whole(values: Sequence[Any]) -> bool:
    """Whole numbers that 64 bits hold, their negatives too."""
    return not values or (set(map(type, values)) == {int} and max(abs(min(values)), abs(max(values))) < 2**63)


def _are_names(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) and len(value) <= LONGEST_NAME for value in set(values))


def _columns(path: Path, names: Sequence[str]) -> dict[str, list[Any]]:
    try:
        return read_parquet(path, names)
    except KeyError as error:
        raise UserError(path, "per-query results have no such column", error.args[0], RUN_AGAIN) from None
    except (OSError, ValueError, NotImplementedError, TypeError, MemoryError) as error:
        raise UserError(path, "per-query results must be readable", found_in(error), RUN_AGAIN) from None
