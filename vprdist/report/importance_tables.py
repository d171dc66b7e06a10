"""Which axes matter, in words and tables: terminal, Markdown, CSV and JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vprdist.console import Console, fitted_table, number_text
from vprdist.files import write_json, write_text
from vprdist.game.shares import Told
from vprdist.report.escaping import markdown_line
from vprdist.report.importance import AxisRow, Importance
from vprdist.report.leaderboard import csv_table, markdown_table, with_interval
from vprdist.report.own_table import with_bounds
from vprdist.report.reading import p_text, short

VERSION = 1
FIELDS = (
    "protocol", "axis", "value", "num_rows", "share", "share_low", "share_high", "p", "p_holm", "claim", "adds",
    "adds_low", "adds_high",
)  # fmt: skip
MOST_VALUES = 8
"""Values of an axis on the terminal; the files have all."""
LUCK = {True: "(another seed)", False: "(what no axis explains)"}
QUERIES = "(other queries)"
SEEN = 0.005
"""A share from which on a percent is seen."""
REST = "(three axes or more together)"


def answer(found: Importance) -> str:
    """What matters, in one sentence."""
    told = [f"{each.title} ({share_text(each.share)})" for each in found.axes if each.claim == "matters"]
    open_ = [each.title for each in found.axes if each.claim == "not told"]
    untold = [each.title for each in found.axes if each.claim == "nobody can tell"]
    parts = [f"What matters for {short(found.objective)}: {', '.join(told)}."] if told else []
    parts += [f"Not told from chance: {', '.join(open_)}."] if open_ else []
    parts += [f"Nobody can tell from these trials: {', '.join(untold)}."] if untold else []
    return " ".join(parts)


def reading(found: Importance) -> list[str]:
    """How the numbers are to be read, in sentences, what cannot be told last."""
    asked = ""
    if found.protocol is not None:
        asked = f", {found.protocol.num_queries} queries in {found.num_clusters} clusters"
    queries, also = ("other queries and ", "other queries, and ") if asked else ("", "")
    by = "what another seed changes" if found.of_seeds else "what rows differ by and no axis explains"
    below = ""
    if (taken := sum(-each.share.value for each in found.axes if each.share.value < 0)) >= SEEN:
        below = (
            f" Chance is taken off each axis; where that leaves less than nothing, 0 % stands, and so the lines add up "
            f"to {100 * (1 + taken):.0f} %, not 100 %: read each against its own interval, and do not add them."
        )
    return [
        f"{found.num_trials} trials in {found.num_rows} rows{asked}; the standard deviation of a trial's "
        f"{short(found.objective)} is {_sd(found)}. A share is what an axis explains of its square, with its 95 % "
        f"interval over {queries}other seeds; what these change is in the last lines.{below}",
        f"An axis matters where chance ({also}{by}) makes so much beyond the other axes in fewer than one "
        "of 20 sweeps; p is corrected by Holm over the axes.",
        "A value's difference is to the mean over its axis' values, at equal values of the other axes; its interval "
        "stands alone.",
        *found.notes,
    ]


def share_text(told: Told) -> str:
    """`41 % [30, 52]`: cut at nothing and at all."""
    low, high = share_bounds(told) or (None, None)
    text = f"{100 * cut(told.value):.0f} %"
    return text if low is None or high is None else f"{text} [{100 * low:.0f}, {100 * high:.0f}]"


def share_bounds(told: Told) -> tuple[float, float] | None:
    """The interval within [0, 1]; None where there is none."""
    return None if math.isnan(told.low) else (cut(told.low), cut(told.high))


def cut(share: float) -> float:
    """A share as it can be."""
    return min(1.0, max(0.0, share))


def heads(found: Importance) -> list[str]:
    """The columns of the table."""
    return ["axis, values", "share [95 %]", "p", f"{short(found.objective)} against the mean [95 %]", "rows"]


def lines(found: Importance, most: int | None = None) -> list[list[str]]:
    """The table: an axis, then its values, best first.

    Args:
        most: values of one axis; of more, the best and the worst.
    """
    out = []
    for each in found.axes:
        out.append([each.title, share_text(each.share), _p_text(each), "", ""])
        for value in _some(each.values, most):
            if value is None:
                out.append([f"  … {len(each.values) - (most or 0)} more", "", "", "", ""])
            else:
                out.append([f"  {value.value}", "", "", _adds_text(found, value.adds), str(value.num_rows)])
    return out + [[name, f"{100 * share:.0f} %", "", "", ""] for name, share in others(found).items()]


def others(found: Importance) -> dict[str, float]:
    """The shares of what is no axis."""
    rest = {REST: found.rest} if found.of_seeds and found.rest else {}
    queries = {} if found.protocol is None else {QUERIES: found.queries}
    return {**rest, LUCK[found.of_seeds]: found.luck, **queries}


def _some(values: Sequence[Any], most: int | None) -> list[Any]:
    if most is None or len(values) <= most:
        return [*values]
    return [*values[: most - most // 2], None, *values[len(values) - most // 2 :]]


def _p_text(each: AxisRow) -> str:
    return f"{p_text(each.p_holm)} {each.claim}" if each.claim != "nobody can tell" else each.claim


def _sd(found: Importance) -> str:
    return number_text(found.sd) if found.protocol is None else f"{found.sd:.3f}"


def _adds_text(found: Importance, told: Told) -> str:
    if found.protocol is None:
        return with_bounds(told.value, None if math.isnan(told.low) else (told.low, told.high), signed=True)
    return with_interval(told.value, None if math.isnan(told.low) else (told.low, told.high), signed=True)


def show_importance(found: Importance, title: str, console: Console) -> None:
    """Print the answer, the table and how to read it; a narrow terminal gets fewer columns, never cut numbers."""
    console.print(f"\n{title}\n{found.heading}", style="bold")
    console.print(answer(found))
    console.print(fitted_table(console, heads(found), lines(found, MOST_VALUES), words=(0,), spare=(4, 3)))
    for sentence in reading(found):
        console.print(f"  {sentence}", style="dim")


def write_importance(folder: Path, found: Sequence[Importance], title: str) -> list[Path]:
    """Publish importance.json, .csv and .md; returns their paths."""
    paths = [folder / f"importance.{end}" for end in ("csv", "md", "json")]
    write_text(paths[0], csv_table([record for one in found for record in records(one)], FIELDS))
    write_text(paths[1], markdown(found, title))
    write_json(paths[2], {"version": VERSION, "protocols": [as_json(one) for one in found]})
    return paths


def records(found: Importance) -> list[dict[str, object]]:
    """A flat record an axis (without a value), and one for each of its values. Shares are as found, uncut."""
    out: list[dict[str, object]] = []
    for each in found.axes:
        named: dict[str, object] = {"protocol": found.fingerprint, "axis": each.title}
        tested = {"p": each.p, "p_holm": each.p_holm, "claim": each.claim}
        out.append(named | _numbers("share", each.share) | tested)
        out += [
            named | {"value": value.value, "num_rows": value.num_rows} | _numbers("adds", value.adds)
            for value in each.values
        ]
    named = {"protocol": found.fingerprint}
    return out + [{**named, "axis": name, "share": share} for name, share in others(found).items()]


def _numbers(name: str, told: Told) -> dict[str, object]:
    known = not math.isnan(told.low)
    return {name: told.value, f"{name}_low": told.low if known else None, f"{name}_high": told.high if known else None}


def as_json(found: Importance) -> dict[str, object]:
    """Everything that was found, as plain values; null where nothing tells an interval."""
    protocol = None if found.protocol is None else found.protocol.model_dump(mode="json")
    plain = asdict(found) | {"protocol": protocol, "answer": answer(found)}
    for each, row in zip(plain["axes"], found.axes, strict=True):
        each["claim"] = row.claim
    return {key: _without_nan(value) for key, value in plain.items()}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def markdown(found: Sequence[Importance], title: str) -> str:
    """Everything as Markdown."""
    parts = [f"# {markdown_line(title)}", ""]
    for one in found:
        parts += [f"## {markdown_line(one.heading)}", "", markdown_line(answer(one)), ""]
        parts += [*markdown_table(heads(one), lines(one)), ""]
        parts += [line for text in reading(one) for line in (markdown_line(text), "")]
    return "\n".join(parts).rstrip() + "\n"
