"""A driver that searches subsets of classes; the trials are those of subset_jobs.

`subsetting.py RUNS SWEEP_FILE WORD…`: drives; trials are jobs of this machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

from toy import PROFILE

from vprdist.search.book import Outcome
from vprdist.search.driver import run_search
from vprdist.search.subset_rule import SubsetRule
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import Digests
from vprdist.store.proposals import Proposals

JOB = "subset_jobs:run_game"
DIGESTS = Digests(dataset="d", cache="c", weights="w")


def proposals(sweep: SweepSpec, runs: Path) -> Proposals:
    """The memory of a search."""
    path = runs / "sweeps" / sweep.name / "proposals.jsonl"
    return Proposals(path, lambda point: trial_at(sweep, point).resolved(DIGESTS), sweep.objective)


def drive(runs: Path, sweep: SweepSpec, given_up: frozenset[str] = frozenset()) -> Outcome:
    """A whole search."""
    searched = sweep.search.method.proposes
    return run_search(
        [] if searched else [trial.resolved(DIGESTS) for trial in sweep.trials],
        sweep_name=sweep.name,
        objective=sweep.objective,
        profile=PROFILE.model_copy(update={"max_concurrent": 4, "max_attempts": 1}),
        runs=runs,
        job=JOB,
        search=sweep.search,
        proposals=proposals(sweep, runs) if searched else None,
        wanted=SubsetRule(sweep).wanted if sweep.search.method.searches_subsets else None,
        given_up=given_up,
    )


if __name__ == "__main__":
    out = drive(Path(sys.argv[1]), read_sweep(Path(sys.argv[2]), sys.argv[3:]))
    print(f"results {len(out.results)} failures {len(out.failures)} ray {'ray' in sys.modules}")
