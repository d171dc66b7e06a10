"""A table of numbers that a program left: the objective, its other numbers, and what every table has."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vprdist.console import number_text
from vprdist.report.evidence import Block, Difference, Interval, Standing
from vprdist.report.reading import against_text, p_text
from vprdist.report.sources import source_record

FIRST = ("name", "trial", "seeds")
LAST = (
    "seed_sd", "interval", "baseline", "difference", "difference_low", "difference_high", "p", "p_holm", "p_all_pairs",
)  # fmt: skip
MADE = (
    "protocol", "program", "code", "steps", "wall_s", "num_ranks", "device", "fallbacks", "version", "source",
    "changed_by_hand", "differs",
)  # fmt: skip
TAKEN = frozenset((*FIRST, *LAST, *MADE))
"""Columns that no number of a program's own may have: it stands as `own.<name>` then."""


def column(name: str) -> str:
    """The column of a program's number in files."""
    return f"own.{name}" if name in TAKEN else name


def own_fields(blocks: Sequence[Block]) -> tuple[str, ...]:
    """The columns of files for all blocks of such numbers: the objectives with their intervals, then the others."""
    own = [block for block in blocks if block.protocol is None]
    ranked = [name for block in own for name in _with_ends(column(block.objective))]
    others = [column(name) for block in own for name in block.all_others]
    return tuple(dict.fromkeys((*FIRST, *ranked, *LAST, *others, *MADE)))


def _with_ends(name: str) -> list[str]:
    return [name, f"{name}_low", f"{name}_high"]


def own_record(block: Block, standing: Standing) -> dict[str, object]:
    """One flat record of plain values: a row's means over its seeds, its interval, and where the numbers come from."""
    row, objective = standing.row, block.objective
    low, high = standing.intervals.get(objective) or (None, None)
    digests, job, found = row.trial.digests, row.trial.job, standing.difference
    code = None if digests is None or digests.code is None else digests.code.get("job")
    sources = {key: value for key, value in source_record(row).items() if key in MADE}
    record: dict[str, object] = {
        "name": row.name,
        "trial": " ".join(result.trial_id for result in row.results),
        "seeds": " ".join(map(str, row.seeds)),
        **{column(name): _known(row.metric(name)) for name in (objective, *block.all_others)},
        **dict(zip(_with_ends(column(objective))[1:], (low, high), strict=True)),
        "seed_sd": row.seed_spread(objective),
        "interval": None if low is None else "seeds",
        "protocol": row.fingerprint,
        "program": None if job is None else job.title,
        "code": code,
        "steps": row.results[0].steps,
        "wall_s": round(sum(result.wall_s for result in row.results) / len(row.results), 1),
        "num_ranks": "+".join(sorted({str(result.num_ranks) for result in row.results})),
        "device": "; ".join(sorted({result.device for result in row.results})),
        "fallbacks": "; ".join(sorted({text for result in row.results for text in result.fallbacks})),
        **sources,
    }
    if found is not None:
        ends = dict(zip(("difference_low", "difference_high"), found.interval or (None, None), strict=True))
        record |= {"baseline": found.baseline, "difference": found.value, **ends}
        record |= {"p": found.p, "p_holm": found.p_holm, "p_all_pairs": found.p_all_pairs}
    return record


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def own_headers(block: Block) -> list[str]:
    """The columns of a leaderboard of such numbers; p where rows have several seeds."""
    p = ["p"] if block.knows_seeds else []
    return ["name", f"{block.objective} [95 %]", "to baseline [95 %]", *p, *block.others, "seeds", "wall s", "trial"]


def own_cells(block: Block, standing: Standing) -> list[str]:
    """The cells under `own_headers`."""
    row, found, against = standing.row, standing.difference, against_text(block, standing)
    p = ["-" if found is None else p_text(found.corrected)] if block.knows_seeds else []
    return [
        row.name,
        own_score(block, standing),
        against or "-" if found is None else "\n".join(filter(None, (own_difference(found), against))),
        *p,
        *(number_text(row.metric(name)) for name in block.others),
        own_seeds(block, standing),
        f"{sum(result.wall_s for result in row.results) / len(row.results):.0f}",
        row.results[0].trial_id[:8] + (f" +{len(row.results) - 1}" if len(row.results) > 1 else ""),
    ]


def own_score(block: Block, standing: Standing) -> str:
    """The objective with its interval, where seeds tell one."""
    return with_bounds(standing.row.metric(block.objective), standing.intervals.get(block.objective))


def own_difference(found: Difference) -> str:
    """A difference with its interval, a dash for an interval that nothing tells."""
    return with_bounds(found.value, found.interval, signed=True) + (" [–]" if found.interval is None else "")


def own_seeds(block: Block, standing: Standing) -> str:
    """How many, and what they change."""
    spread = standing.row.seed_spread(block.objective)
    return str(len(standing.row.seeds)) + ("" if spread is None else f" (sd {number_text(spread)})")


def with_bounds(value: float, bounds: Interval | None, signed: bool = False) -> str:
    """A number of any size, its interval in brackets where it has one."""
    ends = "" if bounds is None else " [{}, {}]".format(*(number_text(end, signed) for end in bounds))
    return f"{number_text(value, signed)}{ends}"
