"""Plots for papers as SVG and PNG, by matplotlib: recall@k curves, and the leaderboard with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vprdist.errors import UserError
from vprdist.files import publish
from vprdist.report.evidence import Block
from vprdist.report.leaderboard import short
from vprdist.report.page.contents import MOST_LINES
from vprdist.spec.vocabulary import KS

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#7d6200", "#5746af", "#6b7280")
DASHES = ("-", "--", ":", "-.", (0, (8, 2)), (0, (3, 1, 1, 1)), (0, (1, 3)), (0, (6, 4)))
MARKS = "sv^Dov<>"
MOST_BARS = 60


def write_plots(folder: Path, blocks: Sequence[Block]) -> list[Path]:
    """Publish `recall` and `leaderboard` as .svg and .png; of several protocols each with its fingerprint in the name.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("--plots", "plots are drawn by matplotlib", None, "pip install 'vprdist[plots]'.") from None
    paths = []
    for block in blocks:
        mark = f"-{block.protocol.fingerprint}" if len(blocks) > 1 else ""
        for name, draw in (("recall", _recall), ("leaderboard", _leaderboard)):
            figure = Figure(layout="constrained")
            draw(block, figure)
            for kind in ("svg", "png"):
                paths.append(folder / f"{name}{mark}.{kind}")
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
    axes.set(xlabel=f"{short(block.objective)} with 95 % interval", ylim=(len(shown) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)


def _plain(name: str) -> str:
    """A name that matplotlib does not take for mathematics, and that leaves room for the plot."""
    text = name.replace("$", r"\$")
    return text if len(text) <= 40 else text[:39] + "…"
