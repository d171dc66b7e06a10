"""Rows of `metrics.jsonl` and `starts.jsonl`: which of them a reader may count on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from vprdist.console import number_text
from vprdist.spec.vocabulary import METRICS

WHOLE = ("step", "steps", "done", "total")
NUMBERS = ("time", "loss", "pairs_per_s", "train_s", "left_s", *METRICS)
NEEDED = {"train": ("step", "steps"), "evaluate": ("step",), "untrained": ("step",), "stage": ("stage",)}
"""What a row of each kind says at least."""


def sound_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those whose fields are what they are called, less what is null. A damaged line costs its point of a curve.

    A row without a kind is a program's own, that says a step and what it measured there.
    """
    kinds = ({"kind": "evaluate", **row} for row in rows)
    return [{key: value for key, value in row.items() if value is not None} for row in kinds if _is_sound(row)]


def sound_starts(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those that say when a job started."""
    return [dict(row) for row in rows if _is_number(row.get("time")) and math.isfinite(row["time"])]


def score_text(objective: str, value: float) -> str:
    """A score for a person: a recall by three places, a program's number of any size."""
    return f"{value:.3f}" if objective in METRICS else number_text(value)


NOT_LOGGED = frozenset(("kind", *WHOLE, "time", "pairs_per_s", "train_s", "left_s"))
"""What rows have beside numbers of a program; the loss too, where it is that of vprdist's training."""


def own_numbers(row: Mapping[str, Any], every: bool = False) -> dict[str, float]:
    """What a program logged under names of its own: finite numbers alone, in its order.

    Args:
        every: those that vprdist's own rows have, too.
    """
    ours = {*NOT_LOGGED, "loss"} if row.get("kind") == "train" else NOT_LOGGED
    return {
        name: float(value)
        for name, value in row.items()
        if (every or name not in ours) and _is_number(value) and math.isfinite(value)
    }


def _is_sound(row: Mapping[str, Any]) -> bool:
    kind = row.get("kind")
    if not isinstance(kind, str) or any(row.get(name) is None for name in NEEDED.get(kind, ())):
        return False
    whole = all(_is_whole(row[name]) for name in WHOLE if row.get(name) is not None)
    numbers = all(_is_number(row[name]) for name in NUMBERS if row.get(name) is not None)
    return whole and numbers and (row.get("time") is None or math.isfinite(row["time"]))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isinf(value)
