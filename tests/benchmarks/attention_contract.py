"""The contract of attention as a table: every built-in one, the five questions, their numbers, and parameters.

    python tests/benchmarks/attention_contract.py [WORD…]

Columns: the largest difference to the plain network's descriptors at the start; how far another attention moves a
descriptor, and the gradient of a pair distance to the logits as a share of that to the features; the least that a
changed column changes what is pooled (`-`: nothing is); differences to a float64 loop, in float32 and in float64; the
share of weights that train, and what moved in frozen units. Parameters are those behind ResNet-50's layer3 (1024
channels). An order as published stands beside the one that works.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.told import tell
from tests.network.contract import CASES, IDENTITY, Case, cancels, frozen, identity, influence, shape, slow

CHANNELS = 1024
HEADS = ("attention", "parameters", "identity", "moved", "gradient", "column", "loop", "loop64", "trains", "frozen")


def row(case: Case) -> list[str]:
    """One line of the table."""
    found, change, (single, double), moved = influence(case), shape(case), slow(case), frozen(case, "sync")
    tell(f"{case.title}, beside a loop in float64", single, peer="float32's rounding allows", theirs=1e-4, at_most=1)
    return [
        case.title,
        f"{sum(each.numel() for each in case.module(CHANNELS).parameters()):,}",
        f"{identity(case):.0e}" if case in IDENTITY else f"({identity(case):.0e})",
        f"{found.moved:.1e}",
        f"{found.share:.1e}" + (" cancels" if cancels(case) else ""),
        "-" if change is None else f"{change:.1e}",
        f"{single:.0e}",
        f"{double:.0e}",
        f"{moved.trained:.0%}",
        str(moved.frozen),
    ]


if __name__ == "__main__":
    wanted = sys.argv[1:]
    print(" | ".join(HEADS))
    for each in CASES:
        if not wanted or each.word in wanted:
            print(" | ".join(row(each)), flush=True)
