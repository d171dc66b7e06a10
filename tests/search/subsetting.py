"""Trials whose recall is a known game of their classes, and a driver that searches subsets of them.

`subsetting.py RUNS SWEEP_FILE WORD…`: drives; trials are jobs of this machine.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from toy import PROFILE, toy_result

from vprdist.errors import DataError
from vprdist.files import append_json_line, write_json
from vprdist.search.driver import Outcome, run_search
from vprdist.search.proposals import Proposals
from vprdist.search.subset_rule import SubsetRule
from vprdist.spec.search import SUBSET_SEARCHERS
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.world import World

JOB = "subsetting:run_game"
DIGESTS = Digests(dataset="d", cache="c", weights="w")
WORTH = {"building": 0.3, "pole": 0.1, "sky": -0.1}


def recall(trial: TrialSpec) -> float:
    """The worth of the classes, and a little luck of the seed."""
    luck = np.random.default_rng(trial.seed).normal(0, 0.003)
    return 0.4 + sum(WORTH[name] for name in trial.input.class_names) + luck


def run_game(trial: TrialSpec, folder: Path, world: World) -> None:
    """A moment of work. Where `broken` lies beside the trials, those of sky alone fail."""
    time.sleep(0.05)
    if (folder.parents[1] / "broken").exists() and trial.input.class_names == ("sky",):
        raise DataError("toy.csv", "the sky has a value", None, "Mend it.")
    append_json_line(folder / "metrics.jsonl", {"kind": "evaluate", "step": 1, "recall@1": recall(trial)})
    row = toy_result(trial).model_copy(update={"metrics": {"recall@1": recall(trial)}})
    write_json(folder / "result.json", row.model_dump(mode="json", by_alias=True))


def proposals(sweep: SweepSpec, runs: Path) -> Proposals:
    """The memory of a search."""
    path = runs / "sweeps" / sweep.name / "proposals.jsonl"
    return Proposals(path, lambda point: trial_at(sweep, point).resolved(DIGESTS), sweep.objective)


def drive(runs: Path, sweep: SweepSpec) -> Outcome:
    """A whole search."""
    searched = sweep.search.searcher is not None
    return run_search(
        [] if searched else [trial.resolved(DIGESTS) for trial in sweep.trials],
        sweep_name=sweep.name,
        objective=sweep.objective,
        profile=PROFILE.model_copy(update={"max_concurrent": 4, "max_attempts": 1}),
        runs=runs,
        job=JOB,
        search=sweep.search,
        proposals=proposals(sweep, runs) if searched else None,
        wanted=SubsetRule(sweep).wanted if sweep.search.searcher in SUBSET_SEARCHERS else None,
    )


if __name__ == "__main__":
    out = drive(Path(sys.argv[1]), read_sweep(Path(sys.argv[2]), sys.argv[3:]))
    print(f"results {len(out.results)} failures {len(out.failures)} ray {'ray' in sys.modules}")
