"""What trials of a sweep have left so far: results, queries, what is said of classes, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vprdist.errors import UserError
from vprdist.report.evidence import Block, weigh
from vprdist.report.rows import group_rows, readable_results
from vprdist.report.seeds import SeedSpread, spread_elsewhere
from vprdist.spec.attribution import AttributionReport
from vprdist.spec.result import Protocol, ResultRow
from vprdist.status.arrays import missing_words, read_probing
from vprdist.status.find import find_sweep
from vprdist.store.attribution_file import attribution_path, read_attribution
from vprdist.store.manifest import is_started, read_manifest, sweep_names
from vprdist.store.queries import Queries, asked_path, read_queries
from vprdist.store.trial_folder import TrialFolder

LEFT_OUT = 3
"""Results left out that are told one by one."""


@dataclass(frozen=True)
class Board:
    """A sweep's results as they are now, and what it says of its classes.

    Attributes:
        not_attributed: why that is left out.
        probes: how many of the probes that it is said from are made; None where all are, or there are none.
    """

    folder: Path
    runs: Path
    manifest: dict[str, Any]
    results: Sequence[ResultRow]
    refused: Sequence[str]
    blocks: Sequence[Block]
    queries: Mapping[str, Queries]
    attribution: AttributionReport | None = None
    not_attributed: str | None = None
    probes: str | None = None

    @property
    def title(self) -> str:
        """The sweep, how much of it there is, and the order of its rows."""
        count, objective = len(self.manifest["names"]), self.manifest["objective"]
        old = f", {len(self.refused)} unreadable or of another version left out" if self.refused else ""
        best = "lowest" if self.manifest["direction"] == "minimize" else "best"
        return f"{self.manifest['name']} ({len(self.results)} of {count} trials{old}), {best} {objective} first"

    @property
    def left_out(self) -> list[str]:
        """Files that count for nothing, and why; the first of many."""
        told = [f"left out: {reason}" for reason in self.refused[:LEFT_OUT]]
        more = len(self.refused) - LEFT_OUT
        told += [f"left out: {more} more files like these"] if more > 0 else []
        return [*told, f"left out: {self.not_attributed}"] if self.not_attributed else told


def read_board(folder: Path, runs: Path) -> Board:
    """Everything that trials of a sweep have left so far.

    Raises:
        UserError: no such sweep, or a manifest that cannot be read.
    """
    if not is_started(folder):
        known = ", ".join(sweep_names(runs)) or "none"
        raise UserError(folder, "no such sweep", None, f"Sweeps in {runs}: {known}.")
    manifest = read_manifest(folder)
    objective, direction = manifest["objective"], manifest["direction"]
    files = [TrialFolder.of(runs, trial).result_file for trial in manifest["names"]]
    results, refused = readable_results(files, objective)
    rows = group_rows(results, manifest["names"], objective, direction)
    queries: dict[str, Queries] = {}

    def queries_of(asked: str) -> Queries | None:
        try:
            found = read_queries(asked_path(runs, asked))
        except UserError as error:  # it costs its row the comparison, not the leaderboard
            refused.append(str(error))
            return None
        if found is not None:
            found = queries[asked] = found.sharing(next(iter(queries.values()), found))
        return found

    def spread_of(protocol: Protocol) -> SeedSpread | None:
        return spread_elsewhere(runs, protocol, objective)

    blocks = weigh(rows, objective, queries_of, manifest["baselines"], spread_of, direction)
    attribution, why, probes = None, None, None
    try:
        probes = _missing_probes(folder, runs)
        attribution = read_attribution(attribution_path(folder))
    except UserError as error:  # it costs the page its section, not the leaderboard
        why = str(error)
    return Board(folder, runs, manifest, results, refused, blocks, queries, attribution, why, probes)


def _missing_probes(folder: Path, runs: Path) -> str | None:
    """In words, how many of a sweep's probes are made; None where none are missing."""
    probing = read_probing(find_sweep(runs, folder.name))
    return missing_words(probing) if probing is not None and probing.are_missing else None
