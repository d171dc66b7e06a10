"""`python -m tests.fuzz`: mutate every format, and print a table of what came of it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.format import all_formats
from tests.fuzz.run import run, table
from tests.fuzz.worker import BAD


def main() -> int:
    """Exit code 1 where a mutant did what none may."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Mutate files of every format, and read them as the product does.",
        epilog="example: python -m tests.fuzz --seed 7 --count 1000 --only run/failure.json",
    )
    parser.add_argument("--seed", type=int, default=1, help="another seed, other mutants (default: %(default)s)")
    parser.add_argument("--count", type=int, default=15_000, help="mutants over all formats (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="FORMAT", help=f"of {', '.join(all_formats())}")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="bad mutants go here (%(default)s)")
    args = parser.parse_args()
    if unknown := set(args.only or ()) - set(all_formats()):
        parser.error(f"no such format: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="vprdist-fuzz-") as root:
        cases = run(Path(root), args.only, args.seed, args.count, args.keep, lambda line: print(line, flush=True))
    print(table(cases))
    bad = [case for case in cases if case.told.outcome in BAD]
    if bad:
        print(f"{len(bad)} mutants and their tracebacks: {args.keep}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
