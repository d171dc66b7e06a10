"""Evaluation and training on a GPU beside the bare network, in one table, in less than ten minutes.

    python -m tests.gpu.measure --data ../shared/data
    python -m tests.gpu.measure --data ../shared/data --json table.json

ResNet50 with random weights on lip6's pictures, brought to 480x640 and to 192x240. An evaluation describes each of them
sixteen times over in one pass, as many as a city of thousands has: with nobody working for the data loader (a thread
reads ahead), from a pack of pixels, with eight workers (they take a second to start: 64 times), and through 32 masks.
Training is the loop with eight workers, eager and compiled, beside forward and backward of the bare network; float32
at the smaller size alone. Aims: an evaluation at 0.95 of the bare network, training at 0.98, `compile` above the eager
network. What does not fit into ten minutes is left out, and said.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.__main__ import run_all
from tests.benchmarks.registry import REPO, Benchmark
from vprdist.console import Parser, guarded

LARGE, SMALL = "--size 480 640", "--size 192 240"
EVALUATION = "--data {data}/lip6 --repeat 16 --rounds 2"
TRAINING = "--data {data}/lip6 --steps 120 --log-steps 20 --workers 8"
NEEDS = ("lip6", "gpu")

BENCHMARKS = (
    Benchmark("describing", f"{EVALUATION} {LARGE}", needs=NEEDS),
    Benchmark("describing", f"{EVALUATION} {LARGE} --pack", needs=NEEDS),
    Benchmark("describing", f"--data {{data}}/lip6 --rounds 1 --repeat 64 {LARGE} --workers 8", needs=NEEDS),
    Benchmark("describing", f"--data {{data}}/lip6 --rounds 1 {LARGE} --arms 32", needs=NEEDS),
    Benchmark("describing", f"{EVALUATION} {SMALL}", needs=NEEDS),
    Benchmark("training_speed", f"{TRAINING} {LARGE} --sides ours bare compiled", needs=NEEDS),
    Benchmark("training_speed", f"{TRAINING} {SMALL} --sides ours bare compiled float32 bare32", needs=NEEDS),
)


def main(words: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m tests.gpu.measure", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data", help="the folder of real data")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there as well")
    args = parser.parse_args(words)
    args.full, args.limit, args.total = False, 200.0, 580.0
    return guarded(lambda console: run_all(BENCHMARKS, args, console))


if __name__ == "__main__":
    sys.exit(main())
