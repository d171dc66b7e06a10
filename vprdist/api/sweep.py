"""A sweep as a notebook has it: what its trials have left, read by the readers of the report."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from vprdist.api.attribution import Attribution
from vprdist.api.html import paragraphs
from vprdist.api.leaderboard import Comparison, Leaderboard
from vprdist.api.pictures import Pictures
from vprdist.api.progress import failures_of, status_of
from vprdist.api.rows import queries_of, result_records, standing_of, trials_of
from vprdist.api.table import Table
from vprdist.errors import UserError, nearest
from vprdist.report.board import Board, read_board
from vprdist.report.board_page import page_path
from vprdist.report.evidence import Block, Standing
from vprdist.report.leaderboard import PART_FIELDS, part_records, rows_of
from vprdist.report.one_pair import compare
from vprdist.store.driving import read_preparing
from vprdist.store.manifest import is_started
from vprdist.store.trial_folder import TrialFolder

Row = str | int
"""A row's name, or its place in the leaderboard, from 0."""


class Sweep:
    """A sweep of a run folder, as it was when it was loaded; `reload` looks again. A driver may run meanwhile.

    A file that cannot be read costs what it tells, and is named in `left_out`.

    Attributes:
        folder: where the sweep lies; runs: the run folder.

    Example:
        >>> sweep = vprdist.load("runs/sweeps/table1")
        >>> sweep.leaderboard                        # shown with intervals
        >>> sweep.compare("masked 0-2", "rgb 0-2").p
        >>> sweep.queries("rgb 0-2").to_pandas().query("first_positive > 1")
    """

    def __init__(self, board: Board) -> None:
        self._board, self.folder, self.runs = board, board.folder, board.runs

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._board.manifest["name"])

    @property
    def objective(self) -> str:
        """The metric that rows are ordered by."""
        return str(self._board.manifest["objective"])

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the leaderboard's rows, each once, the best of the first protocol first."""
        return tuple(dict.fromkeys(row.name for row in rows_of(self._board.blocks)))

    @property
    def left_out(self) -> tuple[str, ...]:
        """Files that count for nothing, and why."""
        return tuple(self._board.left_out)

    @property
    def page(self) -> Path:
        """The sweep's page, one HTML file; there as soon as a leaderboard was written."""
        return page_path(self.folder)

    def reload(self) -> Sweep:
        """The same sweep as it is now."""
        return Sweep(board_of(self.folder))

    @cached_property
    def results(self) -> Table:
        """A row for each trial that has a result, its data set and other evaluations of its descriptors included.

        Columns: trial, name, seed, data_set, variant (of the descriptors), protocol (its fingerprint), the metrics,
        `untrained …` (before training), steps, final_loss, wall_s, train_s, num_ranks, device, peak_memory_mb,
        fallbacks.
        """
        return Table.of(result_records(self._board), ("trial", "name", "seed"), self._board.title, self.left_out)

    @cached_property
    def leaderboard(self) -> Leaderboard:
        """A row a configuration over its seeds, with intervals and differences, by protocol."""
        return Leaderboard(self._board.blocks, self._board.title, self.left_out)

    @cached_property
    def breakdown(self) -> Table:
        """The objective of each row by city, subtask and view direction, with intervals (`breakdown.csv`)."""
        return Table.of(part_records(self._board.blocks), PART_FIELDS, f"{self.objective} by part of the queries")

    @cached_property
    def attribution(self) -> Attribution | None:
        """What each class adds; None where the sweep does not ask, or not yet."""
        report = self._board.attribution
        return None if report is None else Attribution(report, self._board.probes)

    @property
    def status(self) -> Table:
        """How its trials are getting on at this moment, a row each: state, step, objective, why a job waits."""
        return status_of(self.folder, self.runs)

    @property
    def failures(self) -> Table:
        """The trials that were given up by now: kind, reason, the last lines of their logs."""
        return failures_of(self._board)

    def queries(self, row: Row, subtask: str | None = None) -> Table:
        """What a row found for each query: a line for each seed and query.

        Columns: trial, seed, those of `predictions/queries.parquet` (`vprdist.spec.result.QUERY_COLUMNS`: city, query,
        easting, retrieved, hits, recall@1, …) and `first_positive`, the rank of the first positive among the 20 that
        were retrieved, from 1; null where none is.

        Args:
            row: a row's name, or its place in the leaderboard.
            subtask: of the queries; None: that of the row's protocol.

        Raises:
            UserError: no such row, or its trials have left no queries.
        """
        return queries_of(self._board, self._standing(row)[1].row, subtask)

    def compare(self, row: Row, other: Row, metric: str | None = None) -> Comparison:
        """A row less another on the same queries, with interval and p.

        Args:
            metric: None: the objective.

        Raises:
            UserError: no such row or metric, or rows that were not asked the same queries under one protocol.
        """
        block, one = self._standing(row)
        base = next((s for s in block.standings if s.row.name == other and not s.row.is_variant), None)
        if base is None:
            theirs, base = self._standing(other)
            if theirs is not block:
                fault = f"rows of different protocols cannot be compared; that of {one.row.name} is {block.fingerprint}"
                raise UserError(base.row.name, fault, theirs.fingerprint, "Name rows of one protocol.")
        metric = metric or self.objective
        known = [name for name in one.row.results[0].metrics if name in base.row.results[0].metrics]
        if metric not in known:
            raise UserError(f"sweep {self.name}", "no such metric", metric, nearest(metric, known))

        rows = [standing.row for standing in block.standings]
        return Comparison.of(one.row.name, metric, compare(rows, one.row, base.row, metric, self._board.queries.get))

    def metrics(self, row: Row) -> Table:
        """The training of a row's trials, finished or not: what its jobs wrote into `metrics.jsonl`.

        Columns: trial, seed, kind (train, evaluate, untrained, stage, checkpoint), step, loss, metrics, time (Unix).

        Raises:
            UserError: no such row.
        """
        records: list[dict[str, Any]] = []
        notes = []
        for trial, seed in trials_of(self._board, self._name(row)):
            try:
                lines = TrialFolder.of(self.runs, trial).rows()[0]
            except UserError as error:  # the curve is lost, the view is not
                notes.append(str(error))
                continue
            records += [{"trial": trial, "seed": seed, **line} for line in lines]
        return Table.of(records, ("trial", "seed", "kind", "step"), f"metrics of {self._name(row)}", notes)

    def figure(self, kind: str = "leaderboard") -> Any:
        """A figure of matplotlib, as `vprdist leaderboard --plots` draws it.

        Args:
            kind: one of `figures`.

        Raises:
            UserError: matplotlib is not installed, or there is nothing of that kind.
        """
        from vprdist.report.plots import drawn

        if kind not in self.figures:
            raise UserError(f"sweep {self.name}", "no such figure", kind, nearest(kind, self.figures))
        return drawn(self._figures[kind], "figure")

    @property
    def figures(self) -> tuple[str, ...]:
        """The kinds of `figure`: recall, leaderboard, attribution, …"""
        return tuple(self._figures)

    @cached_property
    def _figures(self) -> dict[str, Any]:
        from vprdist.report.plots import attribution_figures, leaderboard_figures

        report = self._board.attribution
        return leaderboard_figures(self._board.blocks) | ({} if report is None else attribution_figures(report))

    def pictures(self, row: Row) -> Pictures:
        """The sheets that a row's trials have left: queries with what was retrieved, masks, augmented pictures.

        Raises:
            UserError: no such row.
        """
        trials = trials_of(self._board, self._name(row))
        paths: dict[str, Path] = {}
        for trial, seed in trials:
            folder = TrialFolder.of(self.runs, trial)
            mark = f" seed {seed}" if len(trials) > 1 else ""
            known = {
                "sheet": folder.sheet_picture,
                "masks": folder.masks_picture,
                "augmented": folder.augmented_picture,
            }
            paths |= {f"{name}{mark}": path for name, path in known.items() if path.is_file()}
        return Pictures(paths)

    def _standing(self, row: Row) -> tuple[Block, Standing]:
        return standing_of(self._board, row)

    def _name(self, row: Row) -> str:
        return row if isinstance(row, str) else self._standing(row)[1].row.name

    def __repr__(self) -> str:
        said = "\n".join([self._board.title, *self.left_out])
        return f"{said}\nrows: {', '.join(self.rows) or 'none yet'}\nfolder: {self.folder}"

    def _repr_html_(self) -> str:
        lines = [f"folder: {self.folder}"]
        failed = self.failures
        if len(failed):
            lines.append(f"{len(failed)} trial(s) were given up: see .failures")
        if self._board.probes is not None:
            lines.append(self._board.probes)
        if self.attribution is not None:
            lines += self.attribution.answers
        return self.leaderboard._repr_html_() + paragraphs([*lines, *failed.notes])


def board_of(folder: Path) -> Board:
    """What the trials of a sweep have left; nothing where its driver still makes a city or a cache.

    Raises:
        UserError: there is no such sweep, or its manifest cannot be read.
    """
    runs = folder.parents[1]
    making = None if is_started(folder) else read_preparing(folder)
    if making is None:
        return read_board(folder, runs)
    manifest: dict[str, Any] = {
        "name": folder.name,
        "objective": making.objective,
        "direction": "maximize",
        "names": {},
        "trials": [],
        "baselines": None,
    }
    return Board(folder, runs, manifest, (), (), (), {})
