"""python -m vprdist.sweep FILE [dotted.key=value …]: read a sweep file, run it, show the leaderboard."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vprdist.cli.options import add_runs
from vprdist.console import Parser, guarded
from vprdist.driver.start import run
from vprdist.spec.sweep_file import read_sweep

EXAMPLE = """examples:
  python -m vprdist.sweep sweeps/table1.yaml
      the built-in demo city on this machine
  python -m vprdist.sweep sweeps/table1.yaml scale=paper cluster=example-gpu
      the paper's subset of MSLS (export MSLS_ROOT=…) on a SLURM cluster
  python -m vprdist.sweep sweeps/table1.yaml name=mine trial.data.root=/data/msls \\
      'trial.data.train=[zurich]' 'trial.data.validate=[cph]' trial.train.steps=200
      other cities and settings; values are YAML

The same command again continues: a trial that has a result is never run twice.

exit codes:
  0 every trial has a result   1 some failed   2 bad input   130 interrupted
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The command line of a sweep."""
    parser = Parser(
        prog=prog,
        description="Run a sweep file and show its leaderboard.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="a sweep file, e.g. sweeps/table1.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted keys of the sweep file")
    add_runs(parser)
    parser.add_argument(
        "--detach",
        action="store_true",
        help="submit the driver as a small CPU job that requeues and resumes, and leave",
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str = "python -m vprdist.sweep") -> int:
    """Returns the exit code: 0 all trials have a result, 1 some failed, 2 bad input, 130 interrupted."""
    # Intermixed: an option may stand before, between or after the overrides.
    args = build_parser(prog).parse_intermixed_args(argv)
    return guarded(
        lambda console: run(read_sweep(args.file, args.overrides), args.runs.resolve(), console, detach=args.detach)
    )


if __name__ == "__main__":
    sys.exit(main())
