"""Settings side by side on the terminal, in Markdown, LaTeX and Parquet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vprdist.console import Console
from vprdist.files import canonical_json
from vprdist.report.attribution_tables import Column, lines
from vprdist.report.beside_tables import alike_columns, difference_columns, side_columns
from vprdist.report.beside_words import (
    VERDICT_WORDS,
    answer,
    cells_of,
    columns_of,
    one_form,
    reading,
    title,
)
from vprdist.report.escaping import markdown_cell, markdown_line
from vprdist.report.latex import escaped
from vprdist.report.wording import bounds, level, mark_key
from vprdist.spec.attribution import AttributionReport, Effect, PlayerRow, SideBySide

PrintTable = Callable[[Sequence[Column], Sequence[Column], Console, str], None]
LATEX_CLAIMS = {"helps": "mathbf", "hurts": "mathbf", "raises": "mathit", "lowers": "mathit"}


def show_sides(report: AttributionReport, console: Console, print_table: PrintTable) -> None:
    """Print each table class x form and class x network, its sentences, and last what it all comes to.

    Args:
        print_table: as `report.attribution.print_table`.
    """
    for side in report.side_by_side:
        console.print(f"\n{title(side)}: what each class adds to {report.objective}", style="bold")
        print_table(side_columns(side, report), side_columns(side, report, narrow=True), console, _key(side, report))
        for sentence in reading(side, report):
            console.print(f"  {sentence}", style="dim")
        console.print(answer(side, report), style="bold")
    if text := one_form(report):
        console.print(f"\n{text}")


def _key(side: SideBySide, report: AttributionReport) -> str:
    """What marks mean."""
    return mark_key(columns_of(side, report))


def sides_markdown(report: AttributionReport) -> list[str]:
    """Lines; where one form was run, the sentence that says so."""
    parts = []
    if text := one_form(report):
        parts += [markdown_line(text), ""]
    for side in report.side_by_side:
        parts += [f"## {markdown_line(title(side))}", "", markdown_line(answer(side, report)), ""]
        at = level(columns_of(side, report)[0])
        parts += [*aligned(side_columns(side, report, narrow=True)), "", markdown_line(f"{_key(side, report)}."), ""]
        parts += [
            f"With {at} intervals, which hold together in a column:",
            "",
            *aligned(side_columns(side, report)),
            "",
        ]
        parts += [line for text in reading(side, report) for line in (markdown_line(text), "")]
        for columns in (difference_columns(side), alike_columns(side)):
            parts += [*aligned(columns), ""] if columns else []
    return parts


def aligned(columns: Sequence[Column]) -> list[str]:
    """A Markdown table whose columns stand below each other where it is read as text: words left, numbers right."""
    heads = [column.head for column in columns]
    plain, rows = [column.plain for column in columns], [[cell.text for cell in row] for row in lines(columns)]
    cells = [[markdown_cell(text) for text in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(texts: Sequence[str]) -> str:
        padded = zip(texts, widths, plain, strict=True)
        return f"| {' | '.join(text.ljust(width) if left else text.rjust(width) for text, width, left in padded)} |"

    rule = [("-" * width) if left else f"{'-' * (width - 1)}:" for width, left in zip(widths, plain, strict=True)]
    return [line(cells[0]), f"| {' | '.join(rule)} |", *map(line, cells[1:])]


def side_records(report: AttributionReport) -> list[dict[str, object]]:
    """A flat record a verdict, a difference of two networks, and an agreement of two columns (`EFFECT_COLUMNS`)."""
    records: list[dict[str, object]] = []
    for side in report.side_by_side:
        own: list[dict[str, object]] = [
            {"player": each.player, "kind": "verdict", "name": _names(side.columns), "claim": each.verdict}
            for each in side.players
        ]
        for pair in side.pairs:
            found = pair.agreement
            own += [
                {"player": name, "kind": "difference", "name": _names(pair.columns), **_numbers(effect)}
                for name, effect in pair.differences.items()
            ]
            if found.tau is not None:
                numbers = {"value": found.tau, "low": found.low, "high": found.high}
                own.append({"kind": "agreement", "name": _names(pair.columns), **numbers})
        asked = columns_of(side, report)[0].num_queries
        shared = {"setting": canonical_json(side.shared), "num_queries": asked}
        records += [{**shared, **record} for record in own]
    return records


def _names(columns: Sequence[str]) -> str:
    return ", ".join(columns)


def _numbers(effect: Effect) -> dict[str, object]:
    return {"value": effect.value, "low": effect.low, "high": effect.high}


def side_latex(side: SideBySide, report: AttributionReport) -> str:
    """A table class x form, or class x network: values over their intervals, and the verdict."""
    columns = columns_of(side, report)
    caption = (
        f"{title(side)}: what each class adds to {report.objective}, with {level(columns[0])} intervals. Bold: claimed "
        f"beyond every placebo; italic: claimed without a control. {answer(side, report)}"
    )
    rows = []
    for each in side.players:
        cells = cells_of(side, report, each.player)
        words = escaped(VERDICT_WORDS[each.verdict])
        rows.append(" & ".join([escaped(each.player), *map(_latex_value, cells.values()), words]) + r" \\")
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\small",
            rf"\caption{{{escaped(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * len(columns)}l}}",
            r"\toprule",
            " & ".join(["class", *map(escaped, side.columns), "verdict"]) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex_value(row: PlayerRow | None) -> str:
    if row is None:
        return "--"
    number, found = f"{row.adds.value:+.3f}", bounds(row.adds)
    style = LATEX_CLAIMS.get(row.claim)
    value = f"$\\{style}{{{number}}}$" if style else f"${number}$"
    if found is None:
        return value
    return rf"\shortstack[r]{{{value}\\{{\scriptsize $[{found[0]:+.3f}, {found[1]:+.3f}]$}}}}"
