"""What masks that are learnt came to: how much they show of each class, beside their placebos and Shapley values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from scipy.special import stdtrit  # scipy.stats would take a second to load, for every leaderboard

from vprdist.console import Console
from vprdist.files import write_text
from vprdist.report.escaping import markdown_line
from vprdist.report.evidence import Block
from vprdist.report.leaderboard import markdown_table, rows_of
from vprdist.report.rows import Row
from vprdist.report.shapley import HOW, ClassValues, beside
from vprdist.report.wording import effect_text
from vprdist.spec.attribution import Effect

FILE = "learnt_masks.md"
TITLE = "What the learnt masks show"
CONFIDENCE = 0.95
BEYOND = "*"
SHOWN = 4
"""Classes of a row that the terminal tells: those shown most, and the least."""
READING = (
    "A class's weight is how much of it the mask shows on average over validation pictures: mean ± sd over seeds. Each "
    "mask shows most of some class, which has 1; squeeze_excite does so picture by picture, so no mean need be 1.",
    "The budget counts pixels: hiding a large class meets it soonest, whatever the class tells. The placebo learns "
    "under the same budget from another picture's activations: what a class tells the loss is its weight less the "
    "placebo's. The loss of training pairs is not recall, which Shapley values are of.",
    f"[95 %]: over the seeds of both, for all classes of a row together (Bonferroni); {BEYOND}: it leaves zero.",
)


@dataclass(frozen=True)
class LearntWeight:
    """One class in one row.

    Attributes:
        values: by seed. placebo: of the row's placebo, by seed; empty where none was run.
        less: the mean of the differences of equal seeds. low, high: its interval, cut where weights in [0, 1] can
            differ no more; None with fewer than two seeds.
        shapley: what the class adds by another sweep; None where none of the run folder tells it of this class alone.
    """

    class_name: str
    values: tuple[float, ...]
    placebo: tuple[float, ...] = ()
    less: float | None = None
    low: float | None = None
    high: float | None = None
    shapley: Effect | None = None

    @property
    def is_beyond(self) -> bool:
        """Whether the interval leaves zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class LearntRow:
    """One row of the leaderboard whose mask weighs classes, the most shown class first.

    Attributes:
        source: whose the Shapley values are, or how they are had.
    """

    name: str
    seeds: tuple[int, ...]
    weights: tuple[LearntWeight, ...]
    source: str = HOW


def learnt_rows(blocks: Sequence[Block], values: Sequence[ClassValues] = ()) -> list[LearntRow]:
    """The rows whose masks weigh classes, in the leaderboard's order; placebos stand beside their masks.

    Args:
        values: Shapley values of the run folder's sweeps (`report.shapley.class_values`).
    """
    rows = [row for row in rows_of(blocks) if not row.is_variant and _weights(row)]
    placebos = {_key(row): row for row in rows if row.trial.input.placebo != "none"}
    return [
        _learnt_row(row, placebos.get(_key(row)), beside(row, values))
        for row in rows
        if row.trial.input.placebo == "none"
    ]


def _weights(row: Row) -> dict[int, dict[str, float]]:
    """By seed."""
    return {each.trial.seed: each.mask_weights for each in row.results if each.mask_weights}


def _key(row: Row) -> tuple[str, str]:
    """What a mask and its placebo have in common."""
    plain = row.trial.input.model_copy(update={"placebo": "none"})
    return row.fingerprint, row.trial.model_copy(update={"seed": 0, "input": plain}).trial_id


def _learnt_row(row: Row, placebo: Row | None, values: ClassValues | None) -> LearntRow:
    own, other = _weights(row), _weights(placebo) if placebo is not None else {}
    names = next(iter(own.values())).keys()
    shapley = {} if values is None else values.by_class
    weights = [_learnt_weight(name, own, other, len(names), shapley.get(name)) for name in names]
    source = HOW if values is None else values.source
    return LearntRow(row.name, tuple(own), tuple(sorted(weights, key=lambda each: -fmean(each.values))), source)


def _learnt_weight(
    name: str, own: dict[int, dict[str, float]], other: dict[int, dict[str, float]], count: int, shapley: Effect | None
) -> LearntWeight:
    values, placebo = (tuple(each[name] for each in side.values()) for side in (own, other))
    gaps = [own[seed][name] - other[seed][name] for seed in own if seed in other]
    less = fmean(gaps) if gaps else None
    low = high = None
    if less is not None and len(gaps) > 1:
        quantile = float(stdtrit(len(gaps) - 1, 1 - (1 - CONFIDENCE) / 2 / count))
        half = quantile * stdev(gaps) / math.sqrt(len(gaps))
        low, high = max(less - half, -1.0), min(less + half, 1.0)
    return LearntWeight(name, values, placebo, less, low, high, shapley)


def spread_text(values: Sequence[float]) -> str:
    """Mean ± sd over seeds; a dash where there is none."""
    if not values:
        return "–"
    return f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def less_text(weight: LearntWeight) -> str:
    """The difference to the placebo, with its interval and its mark."""
    if weight.less is None:
        return "–"
    if weight.low is None or weight.high is None:
        return f"{weight.less:+.3f}"
    return f"{weight.less:+.3f} [{weight.low:+.3f}, {weight.high:+.3f}]" + (BEYOND if weight.is_beyond else "")


HEADERS = ("class", "weight", "placebo's", "less its placebo's [95 %]", "Shapley value")


def cells(row: LearntRow) -> list[list[str]]:
    """A line a class, as `HEADERS`."""
    return [
        [
            each.class_name, spread_text(each.values), spread_text(each.placebo), less_text(each),
            "–" if each.shapley is None else effect_text(each.shapley),
        ]
        for each in row.weights
    ]  # fmt: skip


def learnt_markdown(rows: Sequence[LearntRow]) -> str:
    """The tables as Markdown."""
    parts = [f"# {TITLE}", ""]
    for row in rows:
        seeds = f"{len(row.seeds)} seed{'' if len(row.seeds) == 1 else 's'}"
        parts += [markdown_line(f"{row.name} ({seeds}):"), "", *markdown_table(HEADERS, cells(row)), ""]
        parts += [markdown_line(row.source), ""]
    return "\n".join([*parts, *(line for text in READING for line in (text, ""))]).rstrip() + "\n"


def write_learnt(folder: Path, rows: Sequence[LearntRow]) -> None:
    """Publish the tables beside the leaderboard; an earlier file goes where there are none now."""
    if rows:
        write_text(folder / FILE, learnt_markdown(rows))
    else:
        (folder / FILE).unlink(missing_ok=True)


def show_learnt(rows: Sequence[LearntRow], folder: Path, console: Console) -> None:
    """Say where the tables are, and which classes each row shows most and least."""
    for row in rows:
        told = [f"{each.class_name} {spread_text(each.values)}" for each in row.weights]
        shown = told if len(told) <= SHOWN else [*told[: SHOWN - 1], f"… {told[-1]}"]
        console.print(f"{row.name} learnt to show {', '.join(shown)}", soft_wrap=True)
    for source in dict.fromkeys(row.source for row in rows):
        console.print(f"  {source}", style="dim", soft_wrap=True)
    if rows:
        console.print(f"learnt masks: {folder / FILE}", soft_wrap=True)
