"""A trial whose result tells whether a step was lost, repeated on the wrong state, or made by two copies at once.

Each step hashes the one before; the checkpoint holds the last hash. Run as a script it is the driver of such trials:
`chain.py RUNS COUNT PROFILE_JSON`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from toy import toy_result, toy_trials

from vprdist.distributed.world import World
from vprdist.errors import Stopped
from vprdist.files import append_json_line, write_json, write_text
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec

JOB = "chain:run_chain"
LAST = 5
"""Steps before the end that wait until all faults are played: on a slow day a fault would find nothing left."""


def link(seed: int, before: str, step: int) -> str:
    """The hash after a step."""
    return hashlib.sha256(f"{seed} {before} {step}".encode()).hexdigest()


def whole_chain(seed: int, steps: int) -> str:
    """What a trial that nobody disturbs ends with."""
    last = ""
    for step in range(1, steps + 1):
        last = link(seed, last, step)
    return last


def run_chain(trial: TrialSpec, folder: Path, world: World) -> None:
    """`chain.json` beside `trials/` has the number of steps and the seconds of each; `go` lets the last be made."""
    if world.rank:
        return
    told = json.loads((folder.parents[1] / "chain.json").read_text())
    steps, dt = int(told["steps"]), float(told["dt"])
    checkpoint = folder / "checkpoint" / "chain.json"
    done, last = json.loads(checkpoint.read_text()) if checkpoint.exists() else (0, "")
    starts = len((folder / "log" / "starts.jsonl").read_text().splitlines())
    go = folder.parents[1] / "go"
    for step in range(done + 1, steps + 1):
        while step > steps - LAST and not go.exists() and not world.should_stop():
            time.sleep(0.05)
        time.sleep(dt)
        last = link(trial.seed, last, step)
        row = {"kind": "train", "step": step, "steps": steps, "loss": 1.0, "pairs_per_s": 1.0, "start": starts}
        append_json_line(folder / "metrics.jsonl", row)
        write_text(checkpoint, json.dumps([step, last]))
        if world.should_stop():
            raise Stopped
    result = toy_result(trial, starts).model_copy(update={"environment": {"num_threads": 1, "chain": last}})
    append_json_line(folder / "metrics.jsonl", {"kind": "evaluate", "step": steps, "recall@1": 0.5})
    write_json(folder / "result.json", result.model_dump(mode="json", by_alias=True))


def main() -> int:
    """Drive so many trials, as `python -m vprdist.sweep` drives those of a sweep."""
    from vprdist.errors import UserError
    from vprdist.search.driver import run_search
    from vprdist.search.leaving import SearchInterrupted
    from vprdist.search.progress import SweepProgress

    runs, count, profile = Path(sys.argv[1]), int(sys.argv[2]), ClusterProfile.model_validate_json(sys.argv[3])
    trials = toy_trials(count)
    view = SweepProgress({trial.trial_id: f"chain {trial.seed}" for trial in trials}, "recall@1")
    try:
        outcome = run_search(
            trials, sweep_name="chain", objective="recall@1", profile=profile, runs=runs, view=view, job=JOB
        )
    except SearchInterrupted as left:
        print(left)
        return 130
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for failure in outcome.failures.values():
        print(f"failed: {failure.reason}")
    return int(bool(outcome.failures))


if __name__ == "__main__":
    # The job's function is looked for by its module's name, on the node too.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    sys.exit(main())
