"""The leaderboard as a LaTeX table for papers: booktabs, a row a configuration, notes below."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from vprdist.console import number_text, visible
from vprdist.errors import UserError, nearest
from vprdist.report.differing import layers_text
from vprdist.report.evidence import Block, Difference, Standing
from vprdist.report.leaderboard import rows_of
from vprdist.report.reading import BELOW, p_text, reading, short, warnings
from vprdist.report.rows import other_metrics
from vprdist.report.sources import code_lines
from vprdist.spec.vocabulary import METRICS

NEED_SEEDS = ("group", "p")
"""Columns that are only there where rows have several seeds: with one they would speak of settings."""
USUAL = ("recall@1", "recall@5", "recall@10", "map@5")
"""The metrics beside the objective, where nobody chooses: a paper has no room for all."""

MOST_OWN = 4
"""Numbers of a program's own beside the objective, where nobody chooses."""
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$",
    "|": r"\textbar{}", BELOW: r"$\downarrow$",
    "Δ": r"$\Delta$",
}  # fmt: skip


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    words = visible(" ".join(text.split()))
    # After the `\\` of the row before, both would be its argument.
    first = f"{{{words[0]}}}" if words[:1] in ("[", "*") else SPECIAL.get(words[:1], words[:1])
    return first + "".join(SPECIAL.get(letter, letter) for letter in words[1:])


@dataclass(frozen=True)
class _Column:
    """A column of the table: its head, and a row's cell."""

    head: str
    cell: Callable[[Block, Standing], str]
    align: str = "r"


def _metric(name: str) -> _Column:
    def cell(block: Block, standing: Standing) -> str:
        row = standing.row
        mark = f"{escaped(BELOW)} " if name == block.objective and row.below_untrained(name) else ""
        return f"{mark}{_text(block, row.metric(name))}"

    return _Column(escaped(short(name)), cell)


def _text(block: Block, value: float, signed: bool = False) -> str:
    """A number as the block's tables have it."""
    if block.protocol is None:
        return number_text(value, signed).replace("–", "--")
    return f"{value:{'+' if signed else ''}.3f}"


def _difference(text: Callable[[Block, Difference], str]) -> Callable[[Block, Standing], str]:
    return lambda block, standing: "" if standing.difference is None else text(block, standing.difference)


def _interval(block: Block, standing: Standing) -> str:
    bounds = standing.intervals.get(block.objective)
    return "" if bounds is None else f"[{_text(block, bounds[0])}, {_text(block, bounds[1])}]"


def _bounds(block: Block, found: Difference) -> str:
    if found.interval is None:
        return "--"
    return "$[{}, {}]$".format(*(_text(block, end, signed=True) for end in found.interval))


def _untrained(block: Block, standing: Standing) -> str:
    value = standing.row.untrained(block.objective)
    return "" if value is None else f"{value:.3f}"


def _p(block: Block, found: Difference) -> str:
    return p_text(found.corrected).replace("<", "$<$").replace("–", "--")


COLUMNS = {
    **{name: _metric(name) for name in METRICS},
    "interval": _Column("95\\,\\%", _interval),
    "difference": _Column("$\\Delta$", _difference(lambda block, found: f"${_text(block, found.value, signed=True)}$")),
    "difference_interval": _Column("95\\,\\%", _difference(_bounds)),
    "baseline": _Column("minus", _difference(lambda block, found: escaped(found.baseline)), "l"),
    "p": _Column("$p$", _difference(_p)),
    "group": _Column("group", lambda block, standing: "" if standing.group is None else str(standing.group)),
    "untrained": _Column("untrained", _untrained),
    "seeds": _Column("seeds", lambda block, standing: str(len(standing.row.seeds))),
}
"""By the word that asks for it; the name of the row stands before them all."""


def check_columns(names: Sequence[str], own: Collection[str] = ()) -> None:
    """Refuse a table with columns that there are not.

    Args:
        own: numbers of a program's own that there are.

    Raises:
        UserError: an unknown column, or one twice.
    """
    for place, name in enumerate(names):
        if name not in COLUMNS and name not in own:
            raise UserError("--columns", "no such column", name, nearest(name, (*COLUMNS, *own)))
        if name in names[:place]:
            raise UserError("--columns", "a column is named twice", name, "Name it once.")


def usual_columns(block: Block) -> list[str]:
    """What is printed where nobody chooses: what a paper claims, and a few metrics beside it."""
    compared = ["difference", "difference_interval"] if block.baselines else []
    against = ["baseline"] if len(block.baselines) > 1 else []
    if block.protocol is None:
        p = ["p"] if block.baselines and block.knows_seeds else []
        return [block.objective, "interval", *compared, *against, *p, *block.others[:MOST_OWN], "seeds"]
    others = [name for name in USUAL if name in other_metrics(block.objective)]
    return [block.objective, "interval", *compared, *against, *(["p"] if block.baselines else []), *others]


def latex(
    blocks: Sequence[Block], title: str, name: str = "leaderboard", columns: Sequence[str] = (),
    caption: str | None = None,
) -> str:  # fmt: skip
    """A table for each protocol, to be `\\input`; needs `\\usepackage{booktabs}`.

    Args:
        title: what the table was made of; a comment above it.
        name: of the sweep; the label is `tab:<name>`, with several protocols `tab:<name>-<protocol>`.
        columns: keys of COLUMNS; empty: `usual_columns`.
        caption: plain text, in place of one made of the block.
    """
    code = code_lines(rows_of(blocks))
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "leaderboard"
    tables = []
    for block in blocks:
        label = slug if len(blocks) == 1 else f"{slug}-{block.fingerprint}"
        words = [name for name in columns or usual_columns(block) if block.knows_seeds or name not in NEED_SEEDS]
        words = [name for name in words if _has(block, name)]
        shown = [COLUMNS.get(word) or _metric(word) for word in words]
        lines = _table(block, shown, caption or _caption(block, words), label)
        missing = [word for word in columns if word in NEED_SEEDS and _has(block, word) and not block.knows_seeds]
        notes = _notes(block, words, missing, code)
        tables.append("\n".join([f"% {visible(' '.join(title.split()))}", *lines, *notes, r"\end{table}", ""]))
    return "\n".join(tables)


def _has(block: Block, column: str) -> bool:
    """A table of networks has no number of a program's own, and the other way round."""
    if block.protocol is None:
        return column not in (*METRICS, "group", "untrained") or column in (block.objective, *block.all_others)
    return column in COLUMNS


def _caption(block: Block, words: Sequence[str]) -> str:
    protocol, named = block.protocol, block.baselines
    best = "lowest" if block.direction == "minimize" else "best"
    text = f"{block.objective} of the {block.measured_by}, {best} first."
    if protocol is not None:
        cities = " and ".join(protocol.cities)
        text = f"{short(block.objective)} on {cities} ({protocol.num_queries:,} queries), best first."
    if not named or "difference" not in words:
        return text
    beside = "the row that is named beside it" if "baseline" in words else "the row's own baseline"
    against = named[0] if len(named) == 1 else beside
    if block.protocol is None:
        return f"{text} Δ is the difference to {against}."
    networks = "" if block.knows_seeds else ", these networks"
    return f"{text} Δ is the difference to {against}, on the same queries{networks}."


def _table(block: Block, columns: Sequence[_Column], caption: str, label: str) -> list[str]:
    lines = [
        " & ".join([escaped(standing.row.name), *(column.cell(block, standing) for column in columns)]) + r" \\"
        for standing in block.standings
    ]
    return [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{''.join(column.align for column in columns)}}}",
        r"\toprule",
        " & ".join(["", *(column.head for column in columns)]) + r" \\",
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _notes(block: Block, words: Sequence[str], missing: Sequence[str], code: Sequence[str]) -> list[str]:
    """How the numbers of the columns that are there are to be read: below the table, so that a caption stays one.

    Args:
        missing: columns that were asked for, and that one seed a row leaves out.
    """
    layers = layers_text(block.rows)
    about = {"group:": ("group",), "to baseline:": ("difference", "p"), "[95 %]:": ("interval", "difference_interval")}
    absent = tuple(head for head, columns in about.items() if not set(columns) & set(words))
    read = [text.replace("to baseline:", "Δ:", 1) for text in reading(block) if not text.startswith(absent)]
    out = [f"Left out, since no row has two seeds: {', '.join(missing)}."] if missing else []
    texts = (*out, *warnings(block), *read, layers, f"{block.heading}.", *code)
    return [
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize",
        " ".join(escaped(text) for text in texts if text),
        r"\end{minipage}",
    ]
