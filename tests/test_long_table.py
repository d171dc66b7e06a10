"""A table of many lines is, character for character and colour for colour, what rich draws of all of them."""

from __future__ import annotations

import io
import random

import pytest
from rich.text import Text

from vprdist import long_table
from vprdist.console import Console, fitted_table, styled

WORDS = (
    "", "-", "done", "0.318", "rgb 0-2", "two words", "a longer line of several words that may be broken", "路路路 ünï",
    "x" * 40, " led by a space", "ended by one ", "tab\there", "first\nsecond line",
    "\x1b[31mred", "\u202eback", "a\u0301bc",
)  # fmt: skip


def cells(luck: random.Random, count: int, columns: int) -> list[list[str | Text]]:
    """Lines of words, some of them coloured, some of them whole columns alike."""

    def cell() -> str | Text:
        word = luck.choice(WORDS)
        return styled((word, luck.choice(("red", "dim", "green")))) if luck.random() < 0.3 else word

    return [[cell() for _ in range(columns)] for _ in range(count)]


def printed(lines: list[list[str | Text]], columns: int, luck: random.Random, **options: object) -> str:
    console = Console(**{"file": io.StringIO(), **options})
    heads = [f"head {column}" for column in range(columns)]
    words = [column for column in range(columns) if luck.random() < 0.5]
    spare = luck.sample(range(columns), columns // 2)
    console.print(fitted_table(console, heads, lines, words=words, spare=spare, title=luck.choice((None, "A title"))))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("seed", range(40))
def test_it_is_what_rich_draws(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    luck = random.Random(seed)
    columns = luck.randint(1, 7)
    lines = cells(luck, luck.randint(1, 30), columns)
    options: dict[str, object] = {"width": luck.choice((20, 40, 80, 120, 200))}
    if seed % 2:
        options |= {"force_terminal": True, "color_system": "standard"}
    elif seed % 4:
        options |= {"soft_wrap": True}
    whole = printed(lines, columns, random.Random(seed), **options)
    monkeypatch.setattr(long_table, "MANY", 0)
    assert printed(lines, columns, random.Random(seed), **options) == whole


def test_few_lines_tell_the_widths_and_the_others_are_not_drawn_by_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [[f"{number}", "done", styled(("0.5", "dim"))] for number in range(1000)]
    assert len(long_table.telling(lines, str)) <= 6
    whole = printed(lines, 3, random.Random(1), width=80)
    monkeypatch.setattr(long_table._Body, "_broken", None)
    assert printed(lines, 3, random.Random(1), width=80) == whole
    monkeypatch.setattr(long_table, "MANY", 10_000)
    assert printed(lines, 3, random.Random(1), width=80) == whole


def test_a_terminal_without_such_boxes_has_its_own() -> None:
    lines = [[f"{number}", "done"] for number in range(300)]
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=file, width=80)
    console.print(fitted_table(console, ("a", "b"), lines, words=()))
    file.flush()
    text = file.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert text.startswith("+-----") and "| 299 | done |" in text
