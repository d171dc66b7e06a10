"""A sweep's attribution on disk (JSON, Parquet, Markdown, LaTeX) and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap
from pathlib import Path
from textwrap import wrap

from rich.table import Table

from vprdist.console import Console, fitting
from vprdist.files import canonical_json, write_json, write_text
from vprdist.parquet import write_parquet
from vprdist.report.attribution_tables import (
    DASH,
    Cell,
    Column,
    arm_columns,
    lines,
    pair_columns,
    part_columns,
    player_columns,
)
from vprdist.report.beside import show_sides, side_latex, side_records, sides_markdown
from vprdist.report.escaping import markdown_line
from vprdist.report.latex import escaped
from vprdist.report.leaderboard import markdown_table
from vprdist.report.wording import answer, claim_key, control, heading, pair_text, reading
from vprdist.spec.attribution import (
    EFFECT_COLUMNS,
    AttributionReport,
    Effect,
    PlayerRow,
    SettingRow,
)
from vprdist.store.attribution_file import ENDS, attribution_path, forget_attribution

MOST_PAIRS = 5
"""Interactions on the terminal; the files have more."""
MARGIN, MOST_WORDS = 3, 36
"""Terminal columns that a column costs beside its text, and that words get before they are broken into lines."""


def replace_attribution(folder: Path, report: AttributionReport | None) -> None:
    """Publish what a sweep says of its classes now; what an earlier search of the same name said goes in any case."""
    forget_attribution(folder)
    if report is not None:
        write_attribution(folder, report)


def write_attribution(folder: Path, report: AttributionReport) -> list[Path]:
    """Publish attribution.json, .parquet (`EFFECT_COLUMNS`), .md and .tex; returns their paths."""
    paths = [attribution_path(folder, end) for end in ENDS]
    write_parquet(paths[1], effect_records(report), EFFECT_COLUMNS)
    write_text(paths[2], markdown(report))
    write_text(paths[3], latex(report))
    # Last: who sees it may count on the others.
    write_json(paths[0], report.model_dump(mode="json"))
    return paths


def effect_records(report: AttributionReport) -> list[dict[str, object]]:
    """A flat record an effect. `setting` is canonical JSON; claim and bound stand where the claim is made."""
    records = []
    for setting in report.settings:
        for player in setting.players:
            records += _player_records(setting, player)
        for pair in setting.pairs:
            first, second = pair.players
            records.append(
                {"player": first, "kind": "interaction", "name": second, "claim": pair.claim, **_numbers(pair.adds)}
            )
        for record in records:
            record.setdefault("setting", canonical_json(setting.setting))
            record.setdefault("num_queries", setting.num_queries)
    return [*records, *side_records(report)]


def _player_records(setting: SettingRow, player: PlayerRow) -> list[dict[str, object]]:
    claimed = {"claim": player.claim, "bound": player.bound}
    records: list[dict[str, object]] = [{"kind": "adds", **_numbers(player.adds), **claimed}]
    records += [{"kind": "adds", "placebo": name, **_numbers(e)} for name, e in player.placebos.items()]
    records += [{"kind": "beyond", "placebo": name, **_numbers(e)} for name, e in player.beyond.items()]
    records += [
        {"kind": part.kind, "name": part.name, "num_queries": part.num_queries, **_numbers(part.adds)}
        for part in player.parts
    ]
    return [{"player": player.player, **record} for record in records]


def _numbers(effect: Effect) -> dict[str, object]:
    return {"value": effect.value, "low": effect.low, "high": effect.high}


def show_attribution(report: AttributionReport, console: Console) -> None:
    """Print each setting's answer, table and sentences; a narrow terminal gets fewer columns, never cut numbers.

    Last comes what holds in every form of the mask and in every network, or that one form was run.
    """
    for setting in report.settings:
        console.print(f"\nwhat each class adds to {report.objective} ({heading(setting)})", style="bold")
        console.print(answer(setting, report.objective))
        if text := control(setting):
            console.print(text, style="yellow")
        if setting.players:
            _print_players(setting, console)
        told = [pair for pair in setting.pairs if pair.claim != "none"]
        sentences = [*reading(setting), *(pair_text(pair) for pair in told[:MOST_PAIRS])]
        for sentence in sentences:
            console.print(f"  {sentence}", style="dim")
    show_sides(report, console, print_table)


def _print_players(setting: SettingRow, console: Console) -> None:
    print_table(player_columns(setting), player_columns(setting, narrow=True), console, claim_key(setting))


def print_table(columns: Sequence[Column], narrow: Sequence[Column], console: Console, key: str) -> None:
    """A table, as wide as there is room for.

    Args:
        narrow: the same in few words; where it does not fit either, it loses columns by their rank.
        key: what the few words mean.
    """
    shown, is_short = columns, False
    if _table_width(columns) > console.width:
        is_short = True
        shown = fitting(narrow, _spare(narrow), _table_width, console.width)
    table = Table()
    for column in shown:
        room = _width(column) - MARGIN
        table.add_column(
            "\n".join(wrap(column.head, room)), justify="left" if column.plain else "right", overflow="fold",
            min_width=None if column.plain else room, no_wrap=not column.plain,
        )  # fmt: skip
    for row in lines(shown):
        table.add_row(*(cell.text for cell in row))
    console.print(table)
    if is_short:
        console.print(f"  {key}", style="dim")
        names = [column.head for column in shown]
        if missing := [column.head for column in columns if column.head not in names]:
            console.print(f"  no room for: {', '.join(missing)} (attribution.md)", style="dim")


def _spare(columns: Sequence[Column]) -> list[Column]:
    """What a narrow terminal leaves out: the highest rank first, of one rank the last column."""
    return sorted((column for column in reversed(columns) if column.rank), key=lambda column: -column.rank)


def _table_width(columns: Sequence[Column]) -> int:
    return sum(_width(column) for column in columns) + 1


def _width(column: Column) -> int:
    """With its margin. Words may be broken into lines, heads too; a number may not."""
    texts = [cell.text for cell in column.cells]
    longest = max((len(text) for text in texts), default=0)
    if column.plain:
        longest = min(longest, MOST_WORDS)
    return max(longest, *(len(word) for word in column.head.split())) + MARGIN


def markdown(report: AttributionReport) -> str:
    """Everything but the flipped queries, as Markdown."""
    parts = [f"# Which classes help? ({report.objective})", "", *sides_markdown(report)]
    for setting in report.settings:
        parts += [f"## {markdown_line(heading(setting))}", "", markdown_line(answer(setting, report.objective)), ""]
        parts += [line for text in (control(setting), *reading(setting)) if text for line in (markdown_line(text), "")]
        tables: Mapping[str, Sequence[Column]] = {
            "": player_columns(setting) if setting.players else [],
            "Interactions:": pair_columns(setting) if setting.pairs else [],
            "By city and subtask; each interval stands alone:": part_columns(setting),
            "The best and the worst arms:": arm_columns(setting) if setting.arms else [],
        }
        for title, columns in tables.items():
            if columns:
                parts += [title, ""] if title else []
                rows = [[cell.text for cell in row] for row in lines(columns)]
                parts += [*markdown_table([column.head for column in columns], rows), ""]
    return "\n".join(parts).rstrip() + "\n"


def latex(report: AttributionReport) -> str:
    """Settings side by side, then a table for each with players, to be `\\input`; needs `\\usepackage{booktabs}`."""
    sides = [side_latex(side, report) for side in report.side_by_side]
    return "\n".join(
        [*sides, *(_latex_table(setting, report.objective) for setting in report.settings if setting.players)]
    )


def _latex_table(setting: SettingRow, objective: str) -> str:
    columns = [column for column in player_columns(setting, narrow=True) if column.rank <= 3]
    caption = " ".join(
        escaped(text)
        for text in (
            f"What each class adds to {objective} ({heading(setting)}).", answer(setting, objective),
            control(setting) or "", f"{claim_key(setting)}.",
        )
    )  # fmt: skip
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{' '.join(caption.split())}}}",
            rf"\begin{{tabular}}{{{''.join('l' if column.plain else 'r' for column in columns)}}}",
            r"\toprule",
            " & ".join(escaped(column.head) for column in columns) + r" \\",
            r"\midrule",
            *(" & ".join(starmap(_latex_cell, zip(row, columns, strict=True))) + r" \\" for row in lines(columns)),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex_cell(cell: Cell, column: Column) -> str:
    """Effects in mathematics, so that a sign is a minus and no hyphen."""
    if column.plain or column.head == "claim" or cell.sort is None:
        return escaped(cell.text).replace(DASH, "--")
    number, _, rest = cell.text.partition(" ")
    return f"${number}$" + (f" ${rest}$" if rest and DASH not in rest else "")
