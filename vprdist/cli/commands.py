"""The `vprdist` command. Every sub-command says what it made and what to do next."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from vprdist import __version__
from vprdist.cli.options import in_new_words
from vprdist.cli.words import WORDS
from vprdist.console import Parser, Work, guarded


def run_command(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; 2 for bad input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["sweep"]:
        from vprdist.cli import sweep

        return sweep.main(arguments[1:], prog="vprdist sweep")
    args = _parse(in_new_words(arguments))
    work: Work = args.work
    return guarded(lambda console: work(args, console))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Options may stand between overrides, which argparse allows for a parser without sub-commands alone."""
    parser = _parser(arguments[:1])
    args, left = parser.parse_known_args(arguments)
    if left and (not hasattr(args, "overrides") or any(word.startswith("-") for word in left)):
        parser.parse_args(arguments)  # says what is wrong, and ends
    if left:
        args.overrides += left
    return args


def _parser(called: Sequence[str] = tuple(WORDS)) -> argparse.ArgumentParser:
    """The command line.

    Args:
        called: commands that are taken to their last option, whose modules are loaded; others are a line of the help.
    """
    parser = Parser(
        prog="vprdist",
        description="Which semantic classes help a network recognise a place?",
        epilog="example: vprdist sweep sweeps/table1.yaml",
    )
    parser.add_argument("--version", action="version", version=f"vprdist {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    whole = {WORDS[name].module for name in called if name in WORDS and name != "sweep"}  # a door of its own
    for name, word in WORDS.items():
        if word.module not in whole:
            commands.add_parser(name, help=word.about)
        elif name not in commands.choices:
            import_module(f"vprdist.cli.{word.module}").add_commands(commands)
    return parser
