"""The leaderboard of a sweep, from its folders to the terminal, the files and the page."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vprdist.console import Console
from vprdist.errors import UserError
from vprdist.files import write_text
from vprdist.report.attribution import show_attribution
from vprdist.report.board import Board, read_board
from vprdist.report.board_page import learnt_of, page_path, write_page
from vprdist.report.latex import check_columns, latex
from vprdist.report.leaderboard import rows_of, show, write_leaderboard
from vprdist.report.learnt import show_learnt, write_learnt
from vprdist.status.find import find_sweep
from vprdist.status.status import look
from vprdist.store.proposals import is_searched


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
    board = read_board(folder, runs)
    check_columns(
        wanted.columns, [name for b in board.blocks if b.protocol is None for name in (b.objective, *b.all_others)]
    )
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
    learnt = learnt_of(board)
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
    rows, searched = rows_of(board.blocks), _is_searched(board)
    sweep = shlex.quote(board.folder.name)
    missing = len(board.manifest["names"]) - len(board.results) - len(board.refused)
    if missing > 0 and not searched:  # a search ends trials before they have a result
        return f"{missing} trial(s) have no result: vprdist status {sweep} says why, the same command again goes on"
    trains = any(row.trial.job or row.trial.train.steps for row in rows)
    if trains and all(len(row.seeds) == 1 for row in rows) and not searched:  # most searchers take one seed a point
        return "'seeds=[0,1,2]' on the same command adds seeds, to tell rows from luck"
    command = f"vprdist leaderboard {sweep}"
    if not wanted.parts and any(block.protocol for block in board.blocks):
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
