"""The leaderboard of a sweep, from its folders to the terminal, the files and the page."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vprdist.console import Console
from vprdist.errors import UserError
from vprdist.files import MOST_JSON, read_bytes, write_text
from vprdist.report.attribution import show_attribution
from vprdist.report.evidence import Block, weigh
from vprdist.report.latex import check_columns, latex
from vprdist.report.leaderboard import rows_of, show, write_leaderboard
from vprdist.report.learnt import LearntRow, learnt_rows, show_learnt, write_learnt
from vprdist.report.page.build import page
from vprdist.report.page.contents import MOST_LINES, Contents, Curve, NoPictures, Pictures, Progress
from vprdist.report.page.learnt import learnt_section, mask_sheets
from vprdist.report.rows import group_rows, readable_results
from vprdist.report.seeds import SeedSpread, spread_elsewhere
from vprdist.report.shapley import class_values
from vprdist.spec.attribution import AttributionReport
from vprdist.spec.result import Protocol, ResultRow
from vprdist.status.arrays import missing_words, read_probing
from vprdist.status.facts import Facts
from vprdist.status.find import find_sweep
from vprdist.status.status import look
from vprdist.store.attribution_file import attribution_path, read_attribution
from vprdist.store.manifest import is_started, read_manifest, sweep_file, sweep_names
from vprdist.store.proposals import is_searched
from vprdist.store.queries import Queries, queries_path, read_answers, read_queries
from vprdist.store.reading import found_in
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
        return f"{self.manifest['name']} ({len(self.results)} of {count} trials{old}), best {objective} first"

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
    results, refused = readable_results(TrialFolder.of(runs, trial).result_file for trial in manifest["names"])
    rows = group_rows(results, manifest["names"], manifest["objective"])
    queries: dict[str, Queries] = {}

    def queries_of(trial: str) -> Queries | None:
        try:
            found = read_queries(queries_path(TrialFolder.of(runs, trial).path))
        except UserError as error:  # it costs its row the comparison, not the leaderboard
            refused.append(str(error))
            return None
        if found is not None:
            found = queries[trial] = found.sharing(next(iter(queries.values()), found))
        return found

    def spread_of(protocol: Protocol) -> SeedSpread | None:
        return spread_elsewhere(runs, protocol, manifest["objective"])

    blocks = weigh(rows, manifest["objective"], queries_of, manifest["baselines"], spread_of)
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


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What somebody asks of a leaderboard beyond what it always shows.

    Attributes:
        parts: the breakdowns on the terminal too.
        plots: also SVG and PNG files.
        published: the paper's Table I beside rows of other data too.
        columns: of the LaTeX table (`report.latex.COLUMNS`); empty: the usual ones.
        caption: of the LaTeX table, as plain text.
    """

    parts: bool = False
    plots: bool = False
    published: bool = False
    columns: tuple[str, ...] = ()
    caption: str | None = None


NOTHING_MORE = Wanted()


def leaderboard(folder: Path, runs: Path, console: Console, wanted: Wanted = NOTHING_MORE) -> int:
    """Show and publish the leaderboard of a sweep from the results that are there.

    Raises:
        UserError: no such sweep, or no such column.
    """
    check_columns(wanted.columns)
    board = read_board(folder, runs)
    for text in board.left_out:
        console.print(text, style="yellow")
    if not board.results:
        console.print("No trial has a result yet.", style="yellow")
        return 1
    show(board.blocks, board.title, console, wanted.parts, wanted.published)
    write_leaderboard(folder, board.blocks, board.title, wanted.published, board.probes)
    write_text(
        folder / "leaderboard.tex", latex(board.blocks, board.title, folder.name, wanted.columns, wanted.caption)
    )
    write_page(board, None, published=wanted.published)
    if board.probes is not None:
        console.print(f"\n{board.probes}", style="yellow")
    if board.attribution is not None:
        show_attribution(board.attribution, console)
    learnt = _learnt(board)
    write_learnt(folder, learnt)
    show_learnt(learnt, folder, console)
    if wanted.plots:
        from vprdist.report.plots import write_attribution_plots, write_plots

        write_plots(folder / "plots", board.blocks)
        if board.attribution is not None:
            write_attribution_plots(folder / "plots", board.attribution)
    console.print(f"\nresults: {folder} (open {page_path(folder).name} in a browser)")
    console.print(f"next:    {_next(board, wanted)}")
    return 0


def _next(board: Board, wanted: Wanted) -> str:
    """The one thing that helps most now."""
    rows = rows_of(board.blocks)
    trains = any(row.trial.train.steps for row in rows)
    if trains and all(len(row.seeds) == 1 for row in rows) and not _is_searched(board):  # most searchers take one seed a point
        return "'seeds=[0,1,2]' on the same command adds seeds, to tell rows from luck"
    command = f"vprdist leaderboard {shlex.quote(board.folder.name)}"
    if not wanted.parts:
        return f"{command} --parts shows cities, subtasks and view directions"
    return f"{command} --plots draws figures for papers"


def _is_searched(board: Board) -> bool:
    try:
        return is_searched(board.folder)
    except UserError:
        return False


def watch(
    folder: Path, runs: Path, console: Console, every_s: int, sleep: Callable[[float], None] = time.sleep,
    published: bool = False,
) -> int:  # fmt: skip
    """Write the page again and again until every trial is over and no driver makes more of them, or probes.

    The last page no longer looks for news.
    """
    console.print(f"page: {page_path(folder)}, written every {every_s} s; Ctrl-C ends the watching, not the sweep")
    while True:
        # Before the results are read: a trial that ends meanwhile is on the next page.
        seen = look(find_sweep(runs, folder.name))
        board, over = read_board(folder, runs), seen.is_over
        write_page(board, None if over else every_s, None if over else seen.facts, published)
        if over:
            rest = seen.probing is not None and not seen.probing.is_over
            why = "its driver is gone before probes and finalists were made" if rest else "every trial is over"
            console.print(f"{why}: vprdist leaderboard {folder.name}")
            return 0
        try:
            sleep(every_s)
        except KeyboardInterrupt:
            write_page(board, None, published=published)
            raise


def page_path(folder: Path) -> Path:
    """Where a sweep's page lies."""
    return folder / "leaderboard.html"


def write_page(
    board: Board, refresh_s: int | None, facts: Sequence[Facts] | None = None, published: bool = False
) -> None:
    """Publish the page.

    Args:
        refresh_s: how often an open page looks for a newer one; None: never.
        facts: of the sweep's trials, where they have just been looked at; None: they are looked at now.
        published: see `Wanted`.
    """
    sweep = find_sweep(board.runs, board.folder.name)
    left_out = board.left_out
    try:
        facts = look(sweep).facts if facts is None else facts
    except UserError as error:  # a journal that cannot be read costs the page its jobs, not the leaderboard
        facts, left_out = [], [*left_out, f"Jobs are not shown: {error}"]
    curves, broken = _curves(board)
    broken += [each.why for each in facts if each.why and each.state in ("done", "unreadable")]
    left_out = list(dict.fromkeys([*left_out, *(why for why in broken if not _is_told(why, left_out))]))
    written = ""
    try:
        written = read_bytes(sweep_file(board.folder), MOST_JSON).decode("utf-8")
    except (OSError, ValueError) as error:
        left_out = [*left_out, f"{sweep_file(board.folder)} is not shown: {found_in(error)}"]
    subtasks = {result.trial_id: result.protocol.subtask for result in board.results}
    contents = Contents(
        title=board.title,
        objective=board.manifest["objective"],
        written=time.strftime("%Y-%m-%d %H:%M"),
        blocks=board.blocks,
        progress=[_progress(each, sweep.trials[each.trial]) for each in facts],
        curves=curves,
        queries=board.queries,
        answers=lambda trial, wanted: read_answers(
            queries_path(TrialFolder.of(board.runs, trial).path), wanted, subtasks[trial]
        ),
        pictures=_pictures(board.results),
        sweep_file=written,
        manifest=_to_repeat(board),
        left_out=left_out,
        refresh_s=refresh_s,
        gpus=any(each.gpus for each in facts),
        attribution=board.attribution,
        probes=board.probes,
        published=published,
        learnt=learnt_section(_learnt(board), mask_sheets(rows_of(board.blocks), board.runs)),
    )
    write_text(page_path(board.folder), page(contents))


def _learnt(board: Board) -> list[LearntRow]:
    """The run folder's other sweeps are read where a mask weighs classes only."""
    told = any(each.mask_weights for each in board.results)
    return learnt_rows(board.blocks, class_values(board.runs) if told else ())


def _is_told(problem: str, lines: Sequence[str]) -> bool:
    """A file is named once: by the table where it costs a row, else by what else it costs."""
    return any(problem.split(": ")[0] in line for line in lines)


def _pictures(results: Sequence[ResultRow]) -> Pictures:
    from vprdist.report.pictures import pictures_of

    return pictures_of(results[0].trial) if results else NoPictures("no trial has a result yet.")


def _progress(facts: Facts, folder: TrialFolder) -> Progress:
    failure = folder.failure() if facts.state in ("failed", "cancelled", "unreadable") else None
    return Progress(
        trial=facts.trial, name=facts.name, state=facts.state, spent_h=facts.spent_h, wasted_h=facts.wasted_h,
        why=facts.why, log_lines=failure.log_lines if failure is not None else (),
    )  # fmt: skip


def _curves(board: Board) -> tuple[list[Curve], list[str]]:
    """The curves of the first rows, and why others are not there; while no row has a result, of the first trials."""
    objective, names = board.manifest["objective"], board.manifest["names"]
    rows = [s.row for block in board.blocks for s in block.standings if not s.row.is_variant][:MOST_LINES]
    shown = [(row.name, result.trial.seed, result.trial_id) for row in rows for result in row.results]
    if not shown:
        shown = [(names[entry["trial"]], entry["seed"], entry["trial"]) for entry in board.manifest["trials"]]
    curves, broken = list[Curve](), list[str]()
    for name, seed, trial in shown[: 5 * MOST_LINES]:
        try:
            curves.append(_curve(name, seed, TrialFolder.of(board.runs, trial), objective))
        except UserError as error:  # the curve is lost, the result is not
            broken.append(str(error))
    return curves, broken


def _curve(name: str, seed: int, folder: TrialFolder, objective: str) -> Curve:
    rows = folder.rows()[0]
    # What a killed job made after its last checkpoint was made again, and has two rows.
    loss = {row["step"]: float(row["loss"]) for row in rows if row["kind"] == "train" and "loss" in row}
    scores = {
        row["step"]: float(row[objective])
        for row in rows
        if row["kind"] in ("untrained", "evaluate") and objective in row
    }
    return Curve(row=name, seed=seed, loss=_thinned(sorted(loss.items())), objective=sorted(scores.items()))


def _thinned(points: list[tuple[int, float]], most: int = 200) -> list[tuple[int, float]]:
    """Every so many, the last one always: a chart has no more pixels."""
    every = -(-len(points) // most) or 1
    return points[::-1][::every][::-1]


def _to_repeat(board: Board) -> dict[str, Any]:
    """The manifest, with what each trial was made of, by which code, and where it ran."""
    trials = []
    by_id = {result.trial_id: result for result in board.results}
    sources = {result.source.digest: asdict(result.source) for result in board.results if result.source is not None}
    for entry in board.manifest["trials"]:
        result = by_id.get(entry["trial"])
        made_of = result.trial.digests if result is not None else None
        code = {"source": result.source.digest} if result is not None and result.source is not None else {}
        trials.append(entry | ({} if made_of is None else {"digests": made_of.model_dump()}) | code)
    environments = [result.environment for result in board.results]
    kept = {key: value for key, value in board.manifest.items() if key not in ("names", "baselines", "trials")}
    return kept | {
        "environments": [
            dict(each) for each in {tuple(sorted(map(_pair, e.items()))): e for e in environments}.values()
        ][:8],
        "sources": list(sources.values())[:8],
        "trials": trials,
    }


def _pair(item: tuple[str, Any]) -> tuple[str, str]:
    return item[0], str(item[1])
