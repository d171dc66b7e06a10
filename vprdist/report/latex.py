"""The leaderboard as a LaTeX table for papers: booktabs, a row a configuration."""

from __future__ import annotations

from collections.abc import Sequence

from vprdist.console import visible
from vprdist.report.evidence import Block, Difference, Standing
from vprdist.report.leaderboard import p_text, rows_of
from vprdist.report.reading import BELOW, reading, short, warnings
from vprdist.report.rows import other_metrics
from vprdist.report.sources import code_lines

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$",
    "|": r"\textbar{}", BELOW: r"$\downarrow$",
}  # fmt: skip


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    words = visible(" ".join(text.split()))
    # After the `\\` of the row before, both would be its argument.
    first = f"{{{words[0]}}}" if words[:1] in ("[", "*") else SPECIAL.get(words[:1], words[:1])
    return first + "".join(SPECIAL.get(letter, letter) for letter in words[1:])


def latex(blocks: Sequence[Block], title: str) -> str:
    """A table for each protocol, to be `\\input`; needs `\\usepackage{booktabs}`."""
    code = code_lines(rows_of(blocks))
    return "\n".join(_table(block, title, code) for block in blocks)


def _table(block: Block, title: str, code: Sequence[str]) -> str:
    others = other_metrics(block.objective)
    delta = ["$\\Delta$", "95\\,\\%", "$p$"] if block.knows_seeds else ["$\\Delta$, these networks", "95\\,\\%"]
    heads = ["", short(block.objective), "95\\,\\%", *delta, *map(short, others)]
    notes = " ".join(escaped(text) for text in (f"{block.heading}.", *warnings(block), *reading(block), *code))
    lines = [" & ".join(_cells(block, others, standing)) + r" \\" for standing in block.standings]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(title)}. {notes}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _cells(block: Block, others: Sequence[str], standing: Standing) -> list[str]:
    row, found, objective = standing.row, standing.difference, block.objective
    bounds = standing.intervals.get(objective)
    p = "" if found is None else p_text(found.corrected).replace("<", "$<$").replace("–", "--")
    mark = f"{escaped(BELOW)} " if row.below_untrained(objective) else ""
    return [
        escaped(row.name),
        f"{mark}{row.metric(objective):.3f}",
        "" if bounds is None else f"[{bounds[0]:.3f}, {bounds[1]:.3f}]",
        "" if found is None else f"${found.value:+.3f}$",
        "" if found is None else _bounds(found),
        *([p] if block.knows_seeds else []),
        *(f"{row.metric(column):.3f}" for column in others),
    ]


def _bounds(found: Difference) -> str:
    return "--" if found.interval is None else f"$[{found.interval[0]:+.3f}, {found.interval[1]:+.3f}]$"
