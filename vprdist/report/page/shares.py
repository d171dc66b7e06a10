"""Which axes matter, drawn: a bar an axis, its share of the variance, with whiskers; told ones are filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from vprdist.report.importance import AxisRow, Importance, importances
from vprdist.report.importance_tables import answer, cut, heads, lines, others, reading, share_bounds, share_text
from vprdist.report.leaderboard import rows_of
from vprdist.report.page.charts import ticks
from vprdist.report.page.contents import Contents
from vprdist.report.reading import p_text

MOST_ROWS = 300
"""Above, a page that is written every few seconds would wait for it; `vprdist importance` still tells."""
ROW, HALF, AXIS, EDGE = 36, 7, 40, 4.0


@dataclass(frozen=True)
class AxesSection:
    """What the template needs of one protocol's axes."""

    answer: str
    chart: Markup
    heads: list[str]
    lines: list[list[str]]
    reading: list[str]


def axes_sections(contents: Contents) -> Mapping[str, AxesSection]:
    """By protocol what its axes explain: where two axes or more are, and trials enough to tell anything."""
    rows = rows_of(contents.blocks)
    if not rows or len(rows) > MOST_ROWS:
        return {}
    found, _ = importances(rows, contents.objective, contents.queries.get)
    return {
        one.fingerprint: AxesSection(answer(one), shares_chart(one), heads(one), lines(one), reading(one))
        for one in found
        if len(one.axes) > 1 and any(each.claim != "nobody can tell" for each in one.axes)
    }


def shares_chart(found: Importance) -> Markup:
    """Names beside bars, and what is no axis below them: other seeds, other queries."""
    bars = [*(_bar(each) for each in found.axes), *((name, "", cut(s), None) for name, s in others(found).items())]
    height = ROW * len(bars)
    names = Markup("").join(
        Markup('<div class="name"><b title="{0}"><bdi>{0}</bdi></b><span>{1}</span></div>').format(name, said)
        for name, said, *_ in bars
    )
    told = "; ".join(f"{each.title} {share_text(each.share)}, {each.claim}" for each in found.axes)
    parts = [
        Markup('<svg height="{}" role="img" aria-label="{}"><title>{}</title><desc>{}</desc>').format(
            height + AXIS, "how much of the variance of scores each axis explains", "what axes explain", told
        )
    ]
    parts += [
        Markup(
            '<line class="tick" x1="{x}" x2="{x}" y1="0" y2="{}"/><text x="{x}" y="{}" class="mid">{}</text>'
        ).format(height + 4, height + 17, f"{100 * share:g} %", x=_across(share))
        for share in ticks(0.0, 1.0)
    ]
    parts.append(
        Markup('<text x="50%" y="{}" class="mid">share of the variance of trials\' scores</text>').format(height + 34)
    )
    for number, (_, said, share, bounds) in enumerate(bars):
        parts.append(_drawn(number, share, bounds, "told" if said.startswith("matters") else "open"))
    return Markup('<div class="effects" style="--row: {}px"><div aria-hidden="true">{}</div>{}</div>').format(
        ROW, names, Markup("").join([*parts, Markup("</svg>")])
    )


def _bar(each: AxisRow) -> tuple[str, str, float, tuple[float, float] | None]:
    said = each.claim if each.p_holm is None else f"{each.claim}, p {p_text(each.p_holm)}"
    return each.title, said, cut(each.share.value), share_bounds(each.share)


def _drawn(number: int, share: float, bounds: tuple[float, float] | None, kind: str) -> Markup:
    y = number * ROW + ROW // 2
    drawn = Markup('<rect class="share {}" x="{}" y="{}" width="{}" height="{}"/>').format(
        kind, _across(0.0), y - HALF, f"{share * (100 - 2 * EDGE):.2f}%", 2 * HALF
    )
    if bounds is None:
        return drawn
    low, high = map(_across, bounds)
    drawn += Markup('<line class="none" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(low, high, y=y)
    return drawn + Markup("").join(
        Markup('<line class="none" x1="{x}" x2="{x}" y1="{}" y2="{}"/>').format(y - 4, y + 4, x=end)
        for end in (low, high)
    )


def _across(share: float) -> str:
    return f"{EDGE + share * (100 - 2 * EDGE):.2f}%"
