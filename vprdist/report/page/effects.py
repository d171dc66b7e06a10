"""What each player adds, drawn: a dot and an interval a player, its placebos' fainter below, and a line at zero.

Places across are shares of the width and places down are pixels, so that text has one size on a phone and a screen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from vprdist.report.attribution_tables import placebos_of
from vprdist.report.page.charts import ticks
from vprdist.report.wording import CLAIM_WORDS, adds_to, bounds, claim_text, effect_text, label, level
from vprdist.spec.attribution import Effect, PlayerRow, SettingRow

LANE, FIRST_LANE, LEAST_ROW, AXIS = 9, 13, 36, 40
SHAPES = ("M-3.2 -3.2h6.4v6.4h-6.4z", "M0 -4l4 7h-8z", "M0 -4.4l4.4 4.4l-4.4 4.4l-4.4 -4.4z", "M-4 0h8M0 -4v8")
"""Hollow marks of placebos: square, triangle, diamond, cross."""
EDGE = 4.0
"""Per cent of the width that stays free at either side."""
MOST = 1.0
"""Differences of shares are never larger; an interval of few draws may be, and would hide all others."""


def effect_chart(setting: SettingRow, objective: str) -> Markup:
    """A list of names beside an SVG, and a legend; empty without players."""
    if not setting.players:
        return Markup()
    placebos = placebos_of(setting)
    row = max(LEAST_ROW, FIRST_LANE + LANE * len(placebos) + 8)
    low, high = _range(setting)
    height = row * len(setting.players)

    def across(value: float) -> str:
        share = (min(max(value, low), high) - low) / (high - low)
        return f"{EDGE + share * (100 - 2 * EDGE):.2f}%"

    names = Markup("").join(
        Markup('<div class="name"><b title="{0}"><bdi>{0}</bdi></b><span class="{1}">{2}</span></div>').format(
            player.player, player.claim, label(player)
        )
        for player in setting.players
    )
    told = "; ".join(_told(player) for player in setting.players)
    parts = [
        Markup('<svg height="{}" role="img" aria-label="{}"><title>{}</title><desc>{}</desc>').format(
            height + AXIS, f"what each class adds to {objective}, as intervals", "what each class adds", told
        )
    ]
    for number in range(1, len(setting.players)):
        parts.append(Markup('<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>').format(y=number * row))
    for value in ticks(low, high):
        kind = "zero" if value == 0 else "tick"
        parts.append(
            Markup('<line class="{}" x1="{x}" x2="{x}" y1="0" y2="{}"/><text x="{x}" y="{}" class="mid">{}</text>')
            .format(kind, height + 4, height + 17, f"{value:+g}" if value else "0", x=across(value))
        )  # fmt: skip
    parts.append(Markup('<text x="50%" y="{}" class="mid">{}</text>').format(height + 34, adds_to(setting, objective)))
    for number, player in enumerate(setting.players):
        top = number * row
        parts.append(Markup("<g><title>{}</title>").format(_told(player)))
        for lane, name in enumerate(placebos):
            if (effect := player.placebos.get(name)) is not None:
                y = top + FIRST_LANE + LANE * (lane + 1)
                parts.append(_whisker(effect, across, y, 0, "faint") + _hollow(lane, across(effect.value), y))
        y = top + (FIRST_LANE if placebos else row // 2)
        parts.append(_whisker(player.adds, across, y, 4, player.claim))
        parts.append(
            Markup('<circle class="{}" cx="{}" cy="{}" r="5"/></g>').format(player.claim, across(player.adds.value), y)
        )
    parts.append(Markup("</svg>"))
    return Markup('<div class="effects" style="--row: {}px"><div aria-hidden="true">{}</div>{}</div>{}').format(
        row, names, Markup("").join(parts), _legend(setting, placebos)
    )


def _told(player: PlayerRow) -> str:
    placebos = "".join(f", placebo {name} {effect_text(effect)}" for name, effect in player.placebos.items())
    return f"{player.player}: {effect_text(player.adds)}, {claim_text(player)}{placebos}"


def _range(setting: SettingRow) -> tuple[float, float]:
    """Zero, every value and every interval, as far as a difference of shares can go."""
    effects = [each for player in setting.players for each in (player.adds, *player.placebos.values())]
    values = [0.0, *(effect.value for effect in effects)]
    values += [min(max(end, -MOST), MOST) for effect in effects for end in bounds(effect) or ()]
    low, high = min(values), max(values)
    return (low, high) if high > low else (-0.01, 0.01)


def _whisker(effect: Effect, across: Callable[[float], str], y: float, cap: float, kind: str) -> Markup:
    found = bounds(effect)
    if found is None:
        return Markup()
    ends = [across(end) for end in found]
    line = Markup('<line class="{}" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(kind, *ends, y=y)
    if not cap:
        return line
    return line + Markup("").join(
        Markup('<line class="{}" x1="{x}" x2="{x}" y1="{}" y2="{}"/>').format(kind, y - cap, y + cap, x=end)
        for end in ends
    )


def _hollow(lane: int, x: str, y: float) -> Markup:
    # A path has no places in per cent; an inner drawing has.
    return Markup('<svg x="{}" y="{}" aria-hidden="true"><path class="placebo" d="{}"/></svg>').format(
        x, y, SHAPES[lane % len(SHAPES)]
    )


def _legend(setting: SettingRow, placebos: Sequence[str]) -> Markup:
    claims = {player.claim for player in setting.players}
    key = Markup('<li><svg class="key" viewBox="0 0 36 12" aria-hidden="true">{}</svg>{}</li>')
    items = [
        key.format(
            Markup('<line class="{k}" x1="2" x2="34" y1="6" y2="6"/><circle class="{k}" cx="18" cy="6" r="5"/>').format(
                k=claim
            ),
            text,
        )
        for claim, text in CLAIM_WORDS.items()
        if claim in claims
    ]
    items += [
        key.format(
            Markup('<line class="faint" x1="2" x2="34" y1="6" y2="6"/>'
                   '<path class="placebo" transform="translate(18 6)" d="{}"/>').format(SHAPES[lane % len(SHAPES)]),
            Markup("placebo <bdi>{}</bdi> in the mask's place").format(name),
        )
        for lane, name in enumerate(placebos)
    ]  # fmt: skip
    return Markup('<ul class="legend effects-key">{}<li>whiskers: {} intervals</li></ul>').format(
        Markup("").join(items), level(setting)
    )
