"""How a block of a leaderboard is to be read, in sentences: the same on terminal and page, in Markdown and LaTeX."""

from __future__ import annotations

from vprdist.console import number_text
from vprdist.report.evidence import Block, Standing
from vprdist.spec.vocabulary import METRICS

BELOW = "↓"
"""Marks a row that training made worse."""
MOST_NAMED = 3
P_HOLM = "p is corrected by Holm over the whole sweep"
P_CHOSEN = "p is how often chance makes a largest difference of all pairs as large, times the protocols"


def short(metric: str) -> str:
    """A metric's name in tables: R@1, mAP@5; a program's number by its own name."""
    return metric.replace("recall", "R").replace("map", "mAP") if metric in METRICS else metric


def against_text(block: Block, standing: Standing) -> str:
    """What stands beside a row's difference: its baseline where the rows have several, `baseline` at one of those."""
    named = block.baselines
    if standing.difference is None:
        return "baseline" if standing.row.name in named else ""
    return f"to {standing.difference.baseline}" if len(named) > 1 else ""


def p_text(p: float | None) -> str:
    """A p-value, never as zero; a dash where nothing tells it."""
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def warnings(block: Block) -> list[str]:
    """What a reader must know before the numbers: training that did harm, and that one seed tells no settings."""
    return [*_worse(block), *_one_seed(block)]


def _worse(block: Block) -> list[str]:
    worse = [s.row for s in block.standings if s.row.below_untrained(block.objective)]
    told = [
        f"{row.name} {row.metric(block.objective):.3f} after, {row.untrained(block.objective):.3f} before"
        for row in worse[:MOST_NAMED]
    ]
    more = [f"{len(worse) - MOST_NAMED} more rows"] if len(worse) > MOST_NAMED else []
    return [f"{BELOW} trained below untrained ({short(block.objective)}): {'; '.join([*told, *more])}."] if told else []


def _one_seed(block: Block) -> list[str]:
    if block.num_clusters is None or block.knows_seeds:
        return []
    if not any(row.trial.job or row.trial.train.steps for row in block.rows):
        return [
            "Nothing was trained: intervals and differences are of these very networks, on other queries. No p and no "
            "groups are told, which speak of what training makes of settings."
        ]
    lines = [
        "One seed a row: intervals and differences are of these very networks, on other queries; another seed may turn "
        "the order. So no p and no groups are told, which would speak of settings: train several seeds a row."
    ]
    if block.elsewhere is not None:
        found, bound = block.elsewhere
        named = ", ".join(found.sweeps[:MOST_NAMED]) + (", …" if len(found.sweeps) > MOST_NAMED else "")
        lines.append(
            f"Spread between seeds elsewhere in this run folder: {found.sd:.3f} (rows: {found.num_rows}; {named}): a "
            f"difference below {bound:.3f} may be luck."
        )
    return lines


def reading(block: Block) -> list[str]:
    """How a block's numbers are to be read, in sentences; `warnings` come before them."""
    lines = list(block.notes)
    if block.protocol is None:
        return [*_own_reading(block), *lines]
    if block.num_clusters is None:
        return lines
    seeds = (
        f" What seeds change is in it (sd {block.seed_sd:.3f} beyond what single queries explain)."
        if block.knows_seeds
        else ""
    )
    named = block.baselines
    baseline = named[0] if len(named) == 1 else "the row's own baseline, which it names"
    p = f"; {P_CHOSEN if block.chosen else P_HOLM}" if block.knows_seeds else ""
    return [
        f"[95 %]: an interval by {block.num_clusters} clusters of neighbouring queries.{seeds}",
        *([f"to baseline: minus {baseline}, on the same queries{p}."] if named else []),
        *(["–: one cluster of queries tells nothing of chance."] if named and block.num_clusters < 2 else []),
        *(["group: its rows are not told apart from its best one (5 %, all pairs counted)."] * block.knows_seeds),
        *lines,
    ]


def _own_reading(block: Block) -> list[str]:
    """How numbers of a program's own are to be read."""
    better = "lower" if block.direction == "minimize" else "higher"
    lines = [f"Numbers are the program's own; {better} {block.objective} is better. A row is the mean over its seeds."]
    if block.seed_sd is None:
        lines.append("One seed a row: nothing tells what is luck, and no interval and no p is told.")
    else:
        lines.append(
            f"[95 %]: Student's interval of the mean over the row's seeds (sd {number_text(block.seed_sd)} between "
            "seeds, pooled over rows); it knows of no other chance, such as other data."
        )
    if not (named := block.baselines):
        return lines
    baseline = named[0] if len(named) == 1 else "the row's own baseline, which it names"
    if block.seed_sd is None:
        return [*lines, f"to baseline: minus {baseline}."]
    p = "p allows for all pairs of rows, times the programs" if block.chosen else P_HOLM
    lines.append(
        f"to baseline: minus {baseline}, paired by seed (the paired t-test) where both have the same seeds; {p}. [–]: "
        "other seeds, one seed, or seeds that change nothing."
    )
    return lines
