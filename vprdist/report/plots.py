"""Plots for papers as SVG and PNG, by matplotlib: recall@k, the leaderboard and what classes add, with intervals."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vprdist.errors import UserError
from vprdist.files import publish
from vprdist.report.attribution_tables import placebos_of
from vprdist.report.evidence import Block
from vprdist.report.page.contents import MOST_LINES
from vprdist.report.reading import short
from vprdist.report.side_plots import draw_side
from vprdist.report.wording import CLAIM_WORDS, adds_to, bounds, heading, level
from vprdist.spec.attribution import AttributionReport, Claim, Effect, SettingRow
from vprdist.spec.vocabulary import KS

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#7d6200", "#5746af", "#6b7280")
DASHES = ("-", "--", ":", "-.", (0, (8, 2)), (0, (3, 1, 1, 1)), (0, (1, 3)), (0, (6, 4)))
MARKS = "sv^Dov<>"
MOST_BARS = 60
CLAIMS: dict[Claim, tuple[str, str]] = {
    "helps": ("#0072b2", "#0072b2"), "hurts": ("#d55e00", "#d55e00"), "raises": ("#0072b2", "white"),
    "lowers": ("#d55e00", "white"), "none": ("#000000", "white"), "untold": ("#6b7280", "white"),
}  # fmt: skip
"""By claim the colour of line and edge, and of the mark's inside: claims differ without colours too."""
FAINT = "#8a919c"
Draw = Callable[[Any], None]
"""Draws into an empty figure."""


def write_plots(folder: Path, blocks: Sequence[Block]) -> list[Path]:
    """Publish `recall` and `leaderboard` as .svg and .png; of several protocols each with its fingerprint in the name.

    Raises:
        UserError: matplotlib is not installed.
    """
    return _written(folder, leaderboard_figures(blocks))


def leaderboard_figures(blocks: Sequence[Block]) -> dict[str, Draw]:
    """By name, what draws each figure of a leaderboard."""
    return {
        f"{name}-{block.fingerprint}" if len(blocks) > 1 else name: partial(draw, block)
        for block in blocks
        for name, draw in (("recall", _recall), ("leaderboard", _leaderboard))
        if block.protocol or name == "leaderboard"  # nothing of a program is a recall
    }


def write_attribution_plots(folder: Path, report: AttributionReport) -> list[Path]:
    """Publish `attribution` as .svg and .png, of several settings `attribution-1` and so on; greedy has none.

    Settings side by side have `attribution-form` and `attribution-network`, several of a kind with a number behind.

    Raises:
        UserError: matplotlib is not installed.
    """
    return _written(folder, attribution_figures(report))


def attribution_figures(report: AttributionReport) -> dict[str, Draw]:
    """By name, what draws each figure of an attribution."""
    figures: dict[str, Draw] = {}
    for number, setting in enumerate(report.settings, 1):
        if setting.players:
            mark = f"-{number}" if len(report.settings) > 1 else ""
            figures[f"attribution{mark}"] = partial(_attribution, setting, report.objective)
    kinds = [side.kind for side in report.side_by_side]
    for place, side in enumerate(report.side_by_side):
        mark = f"-{kinds[: place + 1].count(side.kind)}" if kinds.count(side.kind) > 1 else ""
        figures[f"attribution-{side.kind}{mark}"] = partial(draw_side, side, report)
    return figures


def drawn(draw: Draw, where: str) -> Any:
    """A figure of matplotlib, which a notebook shows without pyplot.

    Args:
        where: what asked for it, for messages.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(where, "plots need matplotlib", None, "pip install 'vprdist[plots]'.") from None
    figure: Any = Figure(layout="constrained")
    draw(figure)
    figure._repr_png_ = partial(_as_png, figure)
    return figure


def _as_png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()


def _written(folder: Path, figures: Mapping[str, Draw]) -> list[Path]:
    """Figures as both kinds of files."""
    paths = []
    for name, draw in figures.items():
        figure = drawn(draw, "--plots")
        for kind in ("svg", "png"):
            paths.append(folder / f"{name}.{kind}")
            # Without a date the same results give the same file.
            metadata = {"Date": None} if kind == "svg" else {}
            with publish(paths[-1]) as stream:
                figure.savefig(stream, format=kind, dpi=200, metadata=metadata)
    return paths


def _recall(block: Block, figure: Any) -> None:
    figure.set_size_inches(5.5, 3.6)
    axes = figure.add_subplot()
    for number, standing in enumerate(block.standings[:MOST_LINES]):
        names = [f"recall@{k}" for k in KS]
        scores = [standing.row.metric(name) for name in names]
        bounds = [standing.intervals.get(name, (score, score)) for name, score in zip(names, scores, strict=True)]
        spread = [[max(0.0, s - low) for s, (low, _) in zip(scores, bounds, strict=True)],
                  [max(0.0, high - s) for s, (_, high) in zip(scores, bounds, strict=True)]]  # fmt: skip
        axes.errorbar(
            KS, scores, yerr=spread, color=COLOURS[number], linestyle=DASHES[number], marker=MARKS[number],
            markersize=4, linewidth=1.4, elinewidth=0.7, capsize=2, label=_plain(standing.row.name),
        )  # fmt: skip
    axes.set(xlabel="k", ylabel="recall@k", xticks=KS)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _leaderboard(block: Block, figure: Any) -> None:
    shown = block.standings[:MOST_BARS]
    figure.set_size_inches(5.5, 0.8 + 0.26 * len(shown))
    axes = figure.add_subplot()
    for place, standing in enumerate(shown):
        score = standing.row.metric(block.objective)
        low, high = standing.intervals.get(block.objective, (score, score))
        axes.plot([low, high], [place, place], color="#6b7280", linewidth=1.4)
        axes.plot([score], [place], "o", color="#0072b2", markersize=5)
    axes.set_yticks(range(len(shown)), [_plain(standing.row.name) for standing in shown], fontsize=8)
    seeds = " with 95 % interval" if block.knows_seeds else " with 95 % interval of these networks (one seed)"
    if block.protocol is None:
        seeds = " with 95 % interval over seeds" if block.knows_seeds else " (one seed)"
    axes.set(xlabel=f"{_plain(short(block.objective))}{seeds}", ylim=(len(shown) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)


def _attribution(setting: SettingRow, objective: str, figure: Any) -> None:
    placebos = placebos_of(setting)
    row = 0.26 + 0.09 * len(placebos)
    figure.set_size_inches(5.5, 1.3 + row * len(setting.players))
    axes = figure.add_subplot()
    lane = 0.7 / (len(placebos) + 1)
    for place, player in enumerate(setting.players):
        colour, face = CLAIMS[player.claim]
        axes.axhline(place + 0.5, color="#d5d8dd", linewidth=0.5, zorder=0)
        _effect(axes, player.adds, place - 0.35 + lane / 2, colour, 1.5, marker="o", markersize=5, markerfacecolor=face)
        for number, name in enumerate(placebos):
            if (effect := player.placebos.get(name)) is not None:
                mark = "sD^v<>"[number % 6]
                height = place - 0.35 + lane * (number + 1.5)
                _effect(axes, effect, height, FAINT, 0.7, marker=mark, markersize=3, markerfacecolor="white")
    axes.axvline(0, color="black", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(setting.players)), [_plain(p.player) for p in setting.players], fontsize=8)
    axes.set(
        xlabel=f"{adds_to(setting, short(objective))}, with {level(setting)} intervals",
        ylim=(len(setting.players) - 0.5, -0.5),
    )
    axes.set_title(_plain(heading(setting), 70), fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    claims = {player.claim for player in setting.players}
    for claim, (colour, face) in CLAIMS.items():
        if claim in claims:
            label = CLAIM_WORDS[claim]
            axes.plot([], [], "o-", color=colour, markersize=5, markerfacecolor=face, label=label)
    for number, name in enumerate(placebos):
        mark = "sD^v<>"[number % 6]
        label = f"placebo {_plain(name)}"
        axes.plot([], [], mark + "-", color=FAINT, linewidth=0.7, markersize=3, markerfacecolor="white", label=label)
    figure.legend(loc="outside lower center", fontsize=7, ncols=4, frameon=False)


def _effect(axes: Any, effect: Effect, height: float, colour: str, width: float, **mark: Any) -> None:
    """A mark, and its interval where there is one, as far as a difference of shares can go."""
    if (found := bounds(effect)) is not None:
        low, high = max(found[0], -1.0), min(found[1], 1.0)
        axes.plot([low, high], [height, height], color=colour, linewidth=width)
    axes.plot([effect.value], [height], color=colour, linestyle="none", **mark)


def _plain(name: str, most: int = 40) -> str:
    """A name that matplotlib does not take for mathematics, and that leaves room for the plot."""
    text = name if len(name) <= most else name[: most - 1] + "…"
    return text.replace("$", r"\$")
