"""`vprdist leaderboard`."""

from __future__ import annotations

import argparse

from vprdist.cli.options import add_every, add_runs
from vprdist.cli.words import about
from vprdist.console import Commands, Console, add_command
from vprdist.errors import UserError
from vprdist.report import publish
from vprdist.report.latex import COLUMNS
from vprdist.store.manifest import sweep_folder


def add_commands(commands: Commands) -> None:
    """Add it to the command line."""
    shown = add_command(commands, "leaderboard", _leaderboard, about("leaderboard"), "table1")
    shown.add_argument("sweep", help="its name")
    add_runs(shown)
    shown.add_argument("--parts", action="store_true", help="also by city, subtask and view direction")
    shown.add_argument("--plots", action="store_true", help="also draw SVG and PNG files for papers")
    shown.add_argument(
        "--published", action="store_true",
        help="the paper's Table I beside your rows, also where data or backbone are not the paper's",
    )  # fmt: skip
    shown.add_argument(
        "--columns", nargs="+", default=(), metavar="COLUMN",
        help=f"the columns of leaderboard.tex: {', '.join(COLUMNS)}",
    )  # fmt: skip
    shown.add_argument("--caption", help="the caption of leaderboard.tex, as plain text")
    shown.add_argument("--watch", action="store_true", help="write the page again and again while the sweep runs")
    add_every(shown, 30.0)


def _leaderboard(args: argparse.Namespace, console: Console) -> int:
    runs = args.runs.resolve()
    folder = sweep_folder(runs, args.sweep)
    if not args.watch:
        wanted = publish.Wanted(
            parts=args.parts, plots=args.plots, published=args.published, columns=tuple(args.columns),
            caption=args.caption,
        )  # fmt: skip
        return publish.leaderboard(folder, runs, console, wanted)
    if args.every < 1:
        raise UserError("--every", "a page can be written every second, not more often", args.every, "Ask for more.")
    if args.parts or args.plots or args.columns or args.caption:
        remedy = "Ask for --parts, --plots, --columns and --caption without it."
        raise UserError("--watch", "parts, plots and LaTeX cannot be written again and again", None, remedy)
    return publish.watch(folder, runs, console, int(args.every), published=args.published)
