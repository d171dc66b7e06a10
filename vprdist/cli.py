"""The `vprdist` command. Every sub-command says what it made and what to do next."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vprdist import __version__, board, sweep
from vprdist.console import Work, add_command
from vprdist.data.commands import add_commands as add_data
from vprdist.errors import UserError
from vprdist.evaluate import add_commands as add_evaluate
from vprdist.export import add_commands as add_export
from vprdist.plan.commands import add_commands as add_plan
from vprdist.semantics.commands import add_commands as add_cache
from vprdist.steer.commands import add_commands as add_steer


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; 2 for bad input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["sweep"]:
        return sweep.main(arguments[1:], prog="vprdist sweep")
    args = _parse(arguments)
    work: Work = args.work
    return sweep.guarded(lambda console: work(args, console))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Options may stand between overrides, which argparse allows for a parser without sub-commands alone."""
    args, left = _parser().parse_known_args(arguments)
    if left and (not hasattr(args, "overrides") or any(word.startswith("-") for word in left)):
        _parser().parse_args(arguments)  # says what is wrong, and ends
    if left:
        args.overrides += left
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vprdist",
        description="Which semantic classes help a network recognise a place?",
        epilog="example: vprdist sweep sweeps/table1.yaml",
    )
    parser.add_argument("--version", action="version", version=f"vprdist {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    commands.add_parser("sweep", help="run a sweep file and show its leaderboard (vprdist sweep --help)")
    shown = add_command(commands, "leaderboard", _leaderboard, "show and write a sweep's leaderboard again", "table1")
    shown.add_argument("name", help="the sweep's name")
    shown.add_argument("--runs", type=Path, default=Path("runs"), help="where results are kept (default: %(default)s)")
    shown.add_argument("--parts", action="store_true", help="also by city, subtask and view direction")
    shown.add_argument("--plots", action="store_true", help="also draw SVG and PNG files for papers")
    shown.add_argument(
        "--watch", nargs="?", type=int, const=30, metavar="SECONDS",
        help="write the page again and again while the sweep runs (default: every %(const)s s)",
    )  # fmt: skip
    add_evaluate(commands)
    add_plan(commands)
    add_steer(commands)
    add_export(commands)
    add_data(commands)
    add_cache(commands)
    return parser


def _leaderboard(args: argparse.Namespace, console: Console) -> int:
    runs = args.runs.resolve()
    folder = runs / "sweeps" / args.name
    if args.watch is None:
        return board.leaderboard(folder, runs, console, args.parts, args.plots)
    if args.watch < 1:
        raise UserError("--watch", "a page is written every second at most", args.watch, "Ask for more.")
    if args.parts or args.plots:
        remedy = "Ask for --parts and --plots without it."
        raise UserError("--watch", "the page alone is written again and again", None, remedy)
    return board.watch(folder, runs, console, args.watch)


if __name__ == "__main__":
    sys.exit(main())
