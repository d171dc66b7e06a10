"""How a sweep is getting on, as tables: what `vprdist status` shows, and the trials that were given up."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from vprdist.api.table import Table
from vprdist.errors import UserError
from vprdist.report.board import Board
from vprdist.status.facts import Facts
from vprdist.status.find import find_sweep
from vprdist.status.status import footer, look
from vprdist.store.trial_folder import TrialFolder

FAILURE_COLUMNS = ("trial", "name", "seed", "kind", "reason", "attempts", "log")


def status_of(folder: Path, runs: Path) -> Table:
    """A row a trial at this moment; below it what `vprdist status` says. A look that fails is a note."""
    columns = [field.name for field in fields(Facts)]
    try:
        seen = look(find_sweep(runs, folder.name))
        unit = "GPU-hours" if any(each.gpus for each in seen.facts) else "rank-hours"
        notes = [str(line) for line in footer(seen, unit)]
        records: list[dict[str, Any]] = [each.to_json() for each in seen.facts]
    except UserError as error:
        records, notes = [], [str(error)]
    return Table.of(records, columns, f"status of {folder.name}", notes)


def failures_of(board: Board) -> Table:
    """A row for each trial that has no result and was given up: why, and how its log ended."""
    records, notes = [], list[str]()
    for entry in board.manifest["trials"]:
        folder = TrialFolder.of(board.runs, entry["trial"])
        failure = None if folder.has_result else folder.failure()
        if failure is not None:
            records.append(
                {**entry, "kind": failure.kind, "reason": failure.reason, "attempts": failure.attempts,
                 "log": "\n".join(failure.log_lines)}
            )  # fmt: skip
    found = [{name: record.get(name) for name in FAILURE_COLUMNS} for record in records]
    return Table.of(found, FAILURE_COLUMNS, f"failures of {board.manifest['name']}", notes)
