"""What reaches the terminal: words that are data stay words, and long work tells its pace."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from vprdist.console import Console, bar, pace_of, progress_bars, styled, visible, without_colours

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "vprdist").rglob("*.py"))
OURS = [ROOT / "vprdist/console.py", ROOT / "vprdist/long_table.py"]
HOSTILE = "[/x] [bold]b[/bold] :smile: \x1b[31mred\x1b[0m \x9b2J \r over \x07 \u202eback\u2066 <script> [link=file:///]l[/link]"
SEEN = r"[/x] [bold]b[/bold] :smile: \x1b[31mred\x1b[0m \x9b2J \r over \x07 \u202eback\u2066 <script> [link=file:///]l[/link]"
OWN_COLOURS = re.compile(r"\x1b\[[\d;]*[mAK]|\x1b\[\?25[lh]|\r|\x1b\[2K")
"""What Rich itself says to a terminal: colours, and the redrawing of bars."""


def terminal(width: int = 200) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system="standard")


def shown(console: Console) -> str:
    """What was written, without what Rich itself says to the terminal."""
    assert isinstance(console.file, io.StringIO)
    return OWN_COLOURS.sub("", console.file.getvalue())


def test_what_steers_a_terminal_is_shown_as_an_escape() -> None:
    steering = {*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)}
    for code in range(0x3000):
        letter = chr(code)
        if code in steering - {9, 10}:
            assert visible(f"a{letter}b") == f"a{ascii(letter)[1:-1]}b", hex(code)
        else:
            assert visible(f"a{letter}b") == f"a{letter}b", hex(code)
    assert visible(b"caf\xe9".decode(errors="surrogateescape")) == r"caf\udce9", "a file's name may be no letters"
    assert visible("路 ünï — 😀") == "路 ünï — 😀"


@pytest.mark.parametrize(
    "what",
    [
        HOSTILE, styled("name ", (HOSTILE, "red")), Panel(HOSTILE), Panel("x", title=styled(HOSTILE)),
        Group(HOSTILE, "b"), pytest.param(lambda: grid(), id="table"),
    ],
)  # fmt: skip
def test_data_is_no_markup_and_moves_no_cursor(what: object) -> None:
    console = terminal(400)
    console.print(what() if callable(what) and not isinstance(what, Panel | Group) else what)
    assert SEEN in shown(console)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]", shown(console))


def grid() -> Table:
    table = Table("a", HOSTILE, title=HOSTILE, caption=HOSTILE)
    table.add_row(HOSTILE, "b")
    return table


def test_a_table_has_room_for_its_escapes() -> None:
    table = Table("name")
    table.add_row("\x1b[31m\x1b[32mlong")
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    assert r"│ \x1b[31m\x1b[32mlong │" in shown(console)


def test_bars_and_live_views_show_words_too() -> None:
    console = terminal()
    with bar(console, HOSTILE) as advance:
        advance(1, 2)
    with Live(HOSTILE, console=console):
        pass
    text = shown(console)
    assert text.count(SEEN) >= 2 and "\x1b" not in text and "\u202e" not in text
    logged = Console(file=io.StringIO(), width=400)
    with bar(logged, HOSTILE) as advance:
        advance(1, 2)
    assert f"{SEEN}: 1/2" in shown(logged)


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("\x1b[1;31mred\x1b[0m and \x1b[38;5;9mmore\x1b[m\n", "red and more\n"),
        ("10 %\r20 %\r\ndone\r\n", "10 %\n20 %\ndone\n"),
        ("\x1b]0;a title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ b", "alink b"),
        ("\x1b[2J\x1b[Hgone? \x1b(B no", "gone?  no"),
        ("cut \x1b[3", r"cut \x1b[3"),
        ("tab\tand \u202e bell\x07", "tab\tand \\u202e bell\\x07"),
    ],
)  # fmt: skip
def test_a_log_is_shown_without_its_colours(printed: str, words: str) -> None:
    assert without_colours(printed) == words


def test_work_tells_its_pace_and_the_time_left() -> None:
    now = [100.0]
    console = Console(file=io.StringIO(), width=200)
    with bar(console, "images", lambda: now[0]) as advance:
        for done in (40, 50, 60, 100):  # 40 were made by an earlier run
            advance(done, 100)
            now[0] += 5.0
    assert shown(console).splitlines() == [
        "images: 40/100", "images: 50/100, 2/s, about 25 s left", "images: 60/100, 2/s, about 20 s left",
        "images: 100/100, 4/s",
    ]  # fmt: skip
    assert pace_of(3, 90.0, 6) == "2/min, about 3 min 00 s left"
    assert pace_of(3, 3 * 3600.0, 6, " trials") == "1 trials/h, about 6 h 00 min left"
    assert pace_of(3, 90.0, 0) == "2/min", "it is done"
    assert pace_of(4_710, 1.0, 0) == "4,710/s"
    assert pace_of(0, 90.0, 6) == pace_of(3, 0.0, 6) == "", "nothing is known yet"


def test_bars_on_a_terminal_tell_it_too() -> None:
    now, console = [0.0], terminal()
    with progress_bars(console=console, auto_refresh=False, get_time=lambda: now[0]) as bars:
        task = bars.add_task("images", total=100)
        for done in (10, 20, 30):
            now[0] += 5.0
            bars.update(task, completed=done, refresh=True)
    assert "30/100 2/s, about 35 s left" in shown(console)


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node


def test_one_file_makes_what_is_shown() -> None:
    """Rich reads markup in a plain Console, in Text.from_markup and in a bar's title: they are made in one file; long
    tables are put together in another, of lines that the Console has rendered.

    Everybody else prints plain strings with a style, by a Console of ours, which reads none: no f-string can be one.
    """
    allowed = {"rich.console": {"Group", "RenderableType"}, "rich.table": {"Table"}, "rich.live": {"Live"},
               "rich.progress": {"TaskID"}}  # fmt: skip
    wrong, imports = [], 0
    for path in FILES:
        if path in OURS:
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "rich":
                imports += 1
                others = {alias.name for alias in node.names} - allowed.get(str(node.module), set())
                wrong += [f"{path}:{node.lineno}: {node.module}.{name}" for name in others]
            elif isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "rich" for alias in node.names):
                wrong.append(f"{path}:{node.lineno}: import rich")
        for call in calls(tree):
            name = ast.unparse(call.func)
            if any(word.arg in ("markup", "emoji", "highlight") for word in call.keywords) or "from_markup" in name:
                wrong.append(f"{path}:{call.lineno}: {name} asks for markup")
    assert not wrong, "\n".join(wrong)
    assert imports > 5, "imports are found at all"


LOOKING = ("cli", "driver", "plan", "report", "status", "search", "prepare", "attribution")
"""Rooms whose words go to a person's terminal; what jobs print goes to logs, which `logs` shows."""


def test_nothing_is_written_past_the_console() -> None:
    said = re.compile(r"(json\.dumps|dump|without_colours)\(")
    writers, wrong = ("print", "sys.stdout.write", "sys.stderr.write"), []
    for path in FILES:
        if path.relative_to(ROOT / "vprdist").parts[0] in LOOKING:
            for call in calls(ast.parse(path.read_text())):
                name = ast.unparse(call.func)
                if name in writers and not said.match(ast.unparse(call.args[0])):
                    wrong.append(f"{path}:{call.lineno}: {ast.unparse(call)}")
    assert not wrong, "\n".join(wrong)
