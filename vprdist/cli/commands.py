"""The `vprdist` command. Every sub-command says what it made and what to do next."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vprdist import __version__
from vprdist.cli import sweep
from vprdist.cli.cache import add_commands as add_cache
from vprdist.cli.control import add_commands as add_control
from vprdist.cli.data import add_commands as add_data
from vprdist.cli.evaluate import add_commands as add_evaluate
from vprdist.cli.export import add_commands as add_export
from vprdist.cli.importance import add_commands as add_importance
from vprdist.cli.init import add_commands as add_init
from vprdist.cli.keys import add_commands as add_keys
from vprdist.cli.leaderboard import add_commands as add_leaderboard
from vprdist.cli.options import in_new_words
from vprdist.cli.plan import add_commands as add_plan
from vprdist.cli.track import add_commands as add_track
from vprdist.console import Parser, Work, guarded


def run_command(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; 2 for bad input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["sweep"]:
        return sweep.main(arguments[1:], prog="vprdist sweep")
    args = _parse(in_new_words(arguments))
    work: Work = args.work
    return guarded(lambda console: work(args, console))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Options may stand between overrides, which argparse allows for a parser without sub-commands alone."""
    args, left = _parser().parse_known_args(arguments)
    if left and (not hasattr(args, "overrides") or any(word.startswith("-") for word in left)):
        _parser().parse_args(arguments)  # says what is wrong, and ends
    if left:
        args.overrides += left
    return args


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="vprdist",
        description="Which semantic classes help a network recognise a place?",
        epilog="example: vprdist sweep sweeps/table1.yaml",
    )
    parser.add_argument("--version", action="version", version=f"vprdist {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    commands.add_parser("sweep", help="run a sweep file and show its leaderboard (vprdist sweep --help)")
    add_init(commands)
    add_leaderboard(commands)
    add_importance(commands)
    add_evaluate(commands)
    add_plan(commands)
    add_keys(commands)
    add_control(commands)
    add_export(commands)
    add_track(commands)
    add_data(commands)
    add_cache(commands)
    return parser
