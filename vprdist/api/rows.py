"""The rows of a sweep by the words of a person, their results and their queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vprdist.api.table import Table
from vprdist.errors import UserError, nearest
from vprdist.report.board import Board
from vprdist.report.evidence import Block, Standing
from vprdist.report.rows import Row, group_rows
from vprdist.spec.result import QUERY_COLUMNS, ResultRow
from vprdist.store.manifest import with_seed
from vprdist.store.queries import asked_path, read_query_columns

PLAIN = ("steps", "final_loss", "wall_s", "train_s", "num_ranks", "device", "peak_memory_mb")
"""Fields of a result that are columns as they are."""


def standing_of(board: Board, row: str | int) -> tuple[Block, Standing]:
    """A row of the leaderboard and its block, by its name, a trial's id, or its place from 0.

    The first evaluation of a row comes before its variants, and the first data set before others.

    Raises:
        UserError: there is none; of trials without a result it says so.
    """
    every = [(block, standing) for block in board.blocks for standing in block.standings]
    where = f"sweep {board.manifest['name']}"
    if isinstance(row, int):
        if not -len(every) <= row < len(every):
            raise UserError(where, f"no such row; there are {len(every)}", row, "Places count from 0.")
        return every[row]
    found = [
        pair for pair in every
        if row == pair[1].row.name or row in (result.trial_id for result in pair[1].row.results)
    ]  # fmt: skip
    if found:
        return min(found, key=lambda pair: pair[1].row.is_variant)
    if row in board.manifest["names"].values() or row in board.manifest["names"]:
        raise UserError(where, "the row has no result yet", row, "See .status and .failures.")
    raise UserError(where, "no such row", row, nearest(row, dict.fromkeys(board.manifest["names"].values())))


def trials_of(board: Board, word: str) -> list[tuple[str, int]]:
    """(id, seed) of a row's trials, finished or not, by its name, its name with a seed, or a trial's id.

    Raises:
        UserError: there is none.
    """
    entries = board.manifest["trials"]
    found = [
        (each["trial"], each["seed"]) for each in entries
        if word in (each["name"], with_seed(each["name"], each["seed"]), each["trial"])
    ]  # fmt: skip
    if not found:
        known = dict.fromkeys(each["name"] for each in entries)
        raise UserError(f"sweep {board.manifest['name']}", "no such row", word, nearest(word, known))
    return found


def result_records(board: Board) -> list[dict[str, object]]:
    """A record for each result, each of its data sets and each variant, in the order of the leaderboard."""
    rows = group_rows(board.results, board.manifest["names"], board.manifest["objective"])
    return [_record(row, result) for row in rows for result in row.results]


def _record(row: Row, result: ResultRow) -> dict[str, object]:
    return {
        "trial": result.trial_id,
        "name": row.name,
        "seed": result.trial.seed,
        "data_set": result.data_set or None,
        "variant": row.is_variant,
        "protocol": result.fingerprint,
        **result.metrics,
        **{f"untrained {name}": value for name, value in (result.untrained or {}).items()},
        **{name: getattr(result, name) for name in PLAIN},
        "fallbacks": "; ".join(result.fallbacks),
    }


def queries_of(board: Board, row: Row, subtask: str | None) -> Table:
    """A line for each seed and query of a row.

    Raises:
        UserError: no trial of it has left queries, or none of that subtask.
    """
    if row.is_variant:
        fault, remedy = "the row has no queries of its own", "Name the row of its trial's first evaluation."
        raise UserError(row.name, fault, None, remedy)
    asked = subtask or ("all" if row.protocol is None else row.protocol.subtask)
    records: list[dict[str, Any]] = []
    known: set[str] = set()
    for result in row.results:
        columns = read_query_columns(asked_path(board.runs, result.asked))
        if columns is None:
            continue
        known.update(columns["subtask"])
        head = {"trial": result.trial_id, "seed": result.trial.seed}
        lines = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
        records += [
            {**head, **line, "first_positive": _first(line["hits"])} for line in lines if line["subtask"] == asked
        ]
    if not known:
        raise UserError(row.name, "no trial of the row has left per-query results", None, "Run its sweep again.")
    if not records:
        raise UserError(row.name, "no query of that subtask was asked", asked, nearest(asked, sorted(known)))
    return Table.of(records, ("trial", "seed", *QUERY_COLUMNS), f"queries of {row.name}, subtask {asked}")


def _first(hits: Sequence[bool] | None) -> int | None:
    """The rank of the first hit, from 1."""
    return next((rank for rank, hit in enumerate(hits or (), 1) if hit), None)
