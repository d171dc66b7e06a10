"""Tables of thousands of lines, drawn as rich draws them and many times as quickly.

Rich measures every cell several times. Here the widths of columns come from the few lines that hold a column's longest
text or word, by rich itself; other lines are put together from their cells, and only those that are broken are drawn
by rich.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

Line: TypeAlias = Sequence[str | Text]
Draw: TypeAlias = Callable[[Sequence[int], Sequence[Line]], Table]
"""A table of some columns of some lines, with heads, in the box that rich takes by itself."""
TOP, BELOW_HEADS, BOTTOM = "┏", "┡", "└"
"""How lines of that box begin."""
PADDING = 2
"""Characters of a column that are left free, one on either side."""
ROOM = 10_000
"""Characters of a line that is never too long."""
MANY = 200
"""Lines from which it is worth while."""


def drawn(draw: Draw, shown: Sequence[int], lines: Sequence[Line], told: Sequence[Line]) -> Table | LongTable:
    """The table of these columns and lines.

    Args:
        told: `telling` of them.
    """
    return LongTable(draw, shown, lines, told) if len(lines) > MANY else draw(shown, lines)


def telling(lines: Sequence[Line], plain: Callable[[str], str]) -> Sequence[Line]:
    """Those that say how wide each column is: of few lines all.

    Args:
        plain: makes of a cell what is shown of it.
    """
    if len(lines) <= MANY:
        return lines
    chosen = set[int]()
    for cells in zip(*lines, strict=True):
        sizes = _sizes(cells, plain)
        for kind in (0, 1):
            chosen.add(max(range(len(sizes)), key=lambda place: sizes[place][kind]))
    return [lines[place] for place in sorted(chosen)]


def _sizes(cells: Iterable[str | Text], plain: Callable[[str], str]) -> list[tuple[int, int]]:
    """(longest line, longest word) of each cell, in columns of a terminal."""
    known = dict[str, tuple[int, int]]()
    found = []
    for cell in cells:
        text = cell if isinstance(cell, str) else cell.plain
        if text not in known:
            shown = plain(text)
            known[text] = max(map(_width, shown.splitlines()), default=0), max(map(_width, shown.split()), default=0)
        found.append(known[text])
    return found


def _width(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


class LongTable:
    """What rich shows in the place of `draw(shown, lines)`.

    Args:
        told: lines by which columns are as wide as by all.
    """

    def __init__(self, draw: Draw, shown: Sequence[int], lines: Sequence[Line], told: Sequence[Line]) -> None:
        self.draw, self.shown, self.lines, self.told = draw, shown, lines, told

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        few = self.draw(self.shown, self.told)
        frame = list(Segment.split_lines(console.render(few, options)))
        begins = ["".join(segment.text for segment in line)[:1] for line in frame]
        widths = list[int]()
        if {TOP, BELOW_HEADS, BOTTOM} <= set(begins):
            top = "".join(segment.text for segment in frame[begins.index(TOP)])
            widths = [len(part) for part in top.strip("┏┓ ").split("┳")]
        if min(widths, default=0) <= PADDING:  # a terminal that cannot show such boxes, or has no room for columns
            yield self.draw(self.shown, self.lines)
            return
        body = begins.index(BELOW_HEADS) + 1
        end = body + begins[body:].index(BOTTOM)
        body_of = _Body(few, widths, console, options)
        yield from _ended(frame[:body])
        for line in self.lines:
            yield from body_of.row([line[column] for column in self.shown])
        yield from _ended(frame[end:])


def _ended(lines: Iterable[Iterable[Segment]]) -> Iterator[Segment]:
    for line in lines:
        yield from line
        yield Segment.line()


class _Body:
    """Lines of a table whose columns have some widths, in characters, a space on either side included."""

    def __init__(self, few: Table, widths: Sequence[int], console: Console, options: ConsoleOptions) -> None:
        self.few, self.console = few, console
        self.options = options.update(max_width=ROOM)  # the widths are settled
        self.rooms = [width - PADDING for width in widths]
        self.is_right = [column.justify == "right" for column in few.columns]

    def row(self, cells: Line) -> Iterator[Segment]:
        """One row, on one line where every cell has room for it."""
        parts, words = list[Segment](), "│"
        for cell, room, is_right in zip(cells, self.rooms, self.is_right, strict=True):
            text = self.console.render_str(cell) if isinstance(cell, str) else cell
            gap = room - _width(text.plain)
            if gap < 0 or not text.plain.isprintable() or text.plain != text.plain.strip():
                return self._broken(cells)
            before, after = (gap, 0) if is_right else (0, gap)
            if text.spans:
                parts += [Segment(f"{words} {' ' * before}"), *text.render(self.console, end="")]
                words = f"{' ' * after} │"
            else:
                words += f" {' ' * before}{text.plain}{' ' * after} │"
        return iter((*parts, Segment(words), Segment.line()))

    def _broken(self, cells: Line) -> Iterator[Segment]:
        """One row as rich breaks its cells into lines."""
        table = Table(*(column.copy() for column in self.few.columns), show_header=False)
        for column, room in zip(table.columns, self.rooms, strict=True):
            column.width, column.min_width = room, None
        table.add_row(*cells)
        return _ended(list(Segment.split_lines(self.console.render(table, self.options)))[1:-1])
