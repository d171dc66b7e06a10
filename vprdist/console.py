"""What every command line has in common: sub-commands with an example, and a bar while they work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vprdist.errors import UserError

Column = TypeVar("Column")
Work: TypeAlias = Callable[[argparse.Namespace, Console], int]
Tell: TypeAlias = Callable[[str], None]
"""Says one line to the person."""
Bar: TypeAlias = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Opens a progress bar with a title; inside, it is told (done, total)."""
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(commands: Commands, name: str, work: Work, text: str, example: str) -> argparse.ArgumentParser:
    """A sub-command that does `work`; its help ends with an example."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.epilog = f"example: {parser.prog} {example}"
    parser.set_defaults(work=work)
    return parser


@contextmanager
def bar(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal; elsewhere a line every tenth of the way."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if not console.is_terminal:
        state = [0, 0]

        def note(done: int, total: int) -> None:
            # A line every tenth: enough for a log to show that work goes on.
            tenth = total and done * 10 // total != state[0] * 10 // max(state[1], 1)
            if total and done != state[0] and (tenth or done == total):
                console.print(f"{title}: {done}/{total}")
            state[:] = [done, total]

        yield note
        return
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def fitting(
    columns: Sequence[Column], spare: Iterable[Column], width_of: Callable[[Sequence[Column]], int], width: int
) -> list[Column]:
    """The columns of a table that a terminal has room for: columns are left out, numbers never cut.

    Args:
        spare: the columns that may be left out, in this order.
        width_of: how many characters a table of some columns takes.
        width: the terminal's characters.
    """
    shown = list(columns)
    for column in spare:
        if width_of(shown) <= width:
            break
        shown.remove(column)
    return shown


def table_width(console: Console, table: Table) -> int:
    """The characters that a table takes where no line is broken."""
    return console.measure(table, options=console.options.update(max_width=10_000)).maximum


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds, in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def guarded(work: Callable[[Console], int]) -> int:
    """Run a command; what a user can mend becomes one message and exit code 2."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 200)
    try:
        return work(console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # A full disk, a folder in the way: the system's words name the path.
        print(f"error: {error.filename or 'system'}: {error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted. What was made is kept; the same command again continues.", file=sys.stderr)
        return 130
