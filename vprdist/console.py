"""What every command line has in common: sub-commands with an example, words that are data, and bars.

Names, paths, reasons and logs are data: none of them is markup, and none of them steers the terminal. Whatever is shown
goes through `Console`; colours are given beside the words, as styles.
"""

from __future__ import annotations

import argparse
import gc
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NoReturn, TypeAlias, TypeVar

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from vprdist.disk import full_disk
from vprdist.errors import UserError
from vprdist.long_table import Line, LongTable, drawn, telling
from vprdist.machine import end_quickly, settle_home

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line feed, what turns the direction of reading, and bytes that are no letters."""
COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][0-9A-B]")
"""What programs print for a terminal beside their words (ECMA-48): CSI and OSC sequences, character sets."""

COLLECTED_AFTER = 10_000
"""New objects, in the place of Python's 700 or 2000: what a command imports stays, however often it is looked at."""
WORDS = 12
"""Characters that a column of words gets at least."""

Shown = TypeVar("Shown")
Work: TypeAlias = "Callable[[argparse.Namespace, Console], int]"
Tell: TypeAlias = Callable[[str], None]
"""Says one line to the person."""
Bar: TypeAlias = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Opens a progress bar with a title; inside, it is told (done, total)."""
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


@contextmanager
def late(bar: Bar, title: str) -> Iterator[Callable[[int, int], None]]:
    """The same, opened when there is something to show."""
    with ExitStack() as stack:
        shown: list[Callable[[int, int], None]] = []

        def advance(done: int, total: int) -> None:
            if not shown:
                shown.append(stack.enter_context(bar(title)))
            shown[0](done, total)

        yield advance


def visible(text: str) -> str:
    """The text with what would steer a terminal, or cannot be written, as escapes to read: `\\x1b`, `\\u202e`."""
    return STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def without_colours(text: str) -> str:
    """A program's output as words: colours and movements of the cursor left out, each carriage return a new line."""
    return visible(re.sub(r"\r+\n?", "\n", COLOURS.sub("", text)))


def styled(*parts: str | tuple[str, str]) -> Text:
    """One text of words and of (words, style)."""
    pairs = [(part, "") if isinstance(part, str) else part for part in parts]
    return Text.assemble(*((visible(words), style) for words, style in pairs))


class Console(rich.console.Console):
    """A terminal, or a file, that shows words as they are: `[old]` is no markup, an escape is no colour."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "markup": False, "emoji": False, "highlight": False})

    def render_str(self, text: str, **options: Any) -> Text:
        """Strings, also those of tables and questions, before they are measured."""
        return super().render_str(visible(text), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything else, as it is drawn."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


class Parser(argparse.ArgumentParser):
    """A command line whose complaints show what was typed, and nothing more."""

    def error(self, message: str) -> NoReturn:
        super().error(visible(message))


def add_command(commands: Commands, name: str, work: Work, text: str, example: str) -> Parser:
    """A sub-command that does `work`; its help ends with an example."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.epilog = f"example: {parser.prog} {example}"
    parser.set_defaults(work=work)
    return parser


@contextmanager
def bar(
    console: Console, title: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal; elsewhere a line every tenth of the way. Both tell the pace and the time left."""
    if not console.is_terminal:
        state, first = [0, 0], (clock(), 0)

        def note(done: int, total: int) -> None:
            nonlocal first
            if not state[1] or done < first[1]:  # what an earlier run made costs nothing now
                first = (clock(), done)
            # A line every tenth: enough for a log to show that work goes on.
            tenth = total and done * 10 // total != state[0] * 10 // max(state[1], 1)
            if total and done != state[0] and (tenth or done == total):
                pace = pace_of(done - first[1], clock() - first[0], total - done)
                console.print(", ".join(filter(None, (f"{title}: {done}/{total}", pace))))
            state[:] = [done, total]

        yield note
        return
    with progress_bars(console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def pace_of(made: float, elapsed_s: float, left: float, things: str = "") -> str:
    """`pace_words` of work that made so much in that time, and has so much left; empty while nothing is known."""
    if made <= 0 or elapsed_s <= 0:
        return ""
    return pace_words(made / elapsed_s, left * elapsed_s / made if left > 0 else None, things)


def pace_words(per_s: float, left_s: float | None, things: str = "") -> str:
    """12.3/s, about 2 min 10 s left; slow work by the minute or the hour."""
    unit, factor = next(((u, f) for u, f in (("s", 1), ("min", 60)) if per_s * f >= 1), ("h", 3600))
    rate = per_s * factor
    shown = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
    return f"{shown}{things}/{unit}" + ("" if left_s is None else f", about {duration(left_s)} left")


class _PaceColumn(ProgressColumn):
    """What `pace_words` says of a bar."""

    def render(self, task: Task) -> Text:
        if not task.speed or task.finished:
            return Text("")
        return Text(pace_words(task.speed, task.time_remaining), style="dim")


def progress_bars(indent: str = "", width: int = 40, fields: str = "", paced: bool = True, **options: Any) -> Progress:
    """Bars with how much is done, the pace and the time left.

    Args:
        fields: what follows, as a format of `task`.
        paced: False where the fields tell the pace, since steps of the bar do not.
        options: of `rich.progress.Progress`.
    """
    columns: list[ProgressColumn] = [TextColumn(f"{indent}{{task.description}}", markup=False), BarColumn(width)]
    whole = Column(no_wrap=True)  # a narrow terminal gets a shorter bar
    columns += [MofNCompleteColumn(table_column=whole), *([_PaceColumn(table_column=whole.copy())] if paced else [])]
    return Progress(*columns, *([TextColumn(fields, markup=False)] if fields else []), **options)


def fitting(
    columns: Sequence[Shown], spare: Iterable[Shown], width_of: Callable[[Sequence[Shown]], int], width: int
) -> list[Shown]:
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


def fitted_table(
    console: Console, heads: Sequence[str], lines: Sequence[Sequence[str | Text]], words: Sequence[int],
    spare: Sequence[int] = (), title: str | None = None,
) -> Table | LongTable:  # fmt: skip
    """A table that a terminal has room for. Words are broken into lines; ids, numbers and heads are never cut.

    Args:
        words: columns of words, which may become as narrow as `WORDS`.
        spare: columns that may be left out, in this order.
    """
    told = telling(lines, visible)
    longest = [
        max(len(part) for cell in (head, *(str(line[column]) for line in lines)) for part in cell.split("\n"))
        for column, head in enumerate(heads)
    ]

    def draw(shown: Sequence[int], some: Sequence[Line]) -> Table:
        table = Table(title=None if title is None else styled(title), title_justify="left")
        for column in shown:
            broken = column in words
            least = min(longest[column], WORDS) if broken else None
            table.add_column(heads[column], no_wrap=not broken, overflow="fold", min_width=least)
        for line in some:
            table.add_row(*(line[column] for column in shown))
        return table

    def width_of(shown: Sequence[int]) -> int:
        saved = sum(max(0, longest[column] - WORDS) for column in shown if column in words)
        return table_width(console, draw(shown, told)) - saved

    return drawn(draw, fitting(range(len(heads)), spare, width_of, console.width), lines, told)


def number_text(value: float | None, signed: bool = False) -> str:
    """A number of any size in four digits: 0.0123, 83.4, 1.2e+05; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:{'+' if signed else ''}.4g}"


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds, in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def guarded(work: Callable[[Console], int]) -> int:
    """Run a command; what a user can mend becomes one message, and exit code 2 or the error's own."""
    gc.set_threshold(COLLECTED_AFTER)
    end_quickly()
    console = Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 200)
    settle_home()
    try:
        return work(console)
    except UserError as error:
        return refuse(str(error), error.exit_code)
    except OSError as error:
        # A folder in the way, or another of a disk's faults: the system's words name the path.
        full = full_disk(error, "What was made is kept, and jobs go on; then start the same command again.")
        return refuse(str(full or f"{error.filename or 'system'}: {error.strerror or error}."))
    except KeyboardInterrupt:
        print("Interrupted. What was made is kept; the same command again continues.", file=sys.stderr)
        return 130


def refuse(why: str, exit_code: int = 2) -> int:
    """Say what a person can mend; returns the exit code, by default that of bad input."""
    print(f"error: {visible(why)}", file=sys.stderr)
    return exit_code
