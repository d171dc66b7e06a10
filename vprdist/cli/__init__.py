"""The words that a person types: one file a command. Only this room knows argparse."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The `vprdist` command; returns its exit code."""
    from vprdist.cli.commands import run_command

    return run_command(argv)
